package tickstore

import (
	"errors"

	"github.com/libtickstore/libtickstore/bindings/go/internal/ctks"
)

// Code is a status code of the library, and as an error the sentinel for errors.Is. 0 is success; positive codes are
// notes ("fine, but"), which are no errors; of them PutBatchCodes gives Throttled and CrossedDropped; negative ones are errors.
type Code int32

// Notes.
const (
	OK             Code = 0
	Throttled      Code = 1 // skipped: repeats the last stored quote of its symbol and source
	CrossedDropped Code = 2 // skipped: bid above ask, and the configuration drops crossed quotes
	Partial        Code = 3 // some records of the array were not accepted
	Kept           Code = 4 // closed; what is not written yet waits in the journal for the next Open
)

// Sentinels, to be compared with errors.Is.
const (
	ErrInvalid     Code = -1  // invalid argument
	ErrNull        Code = -2  // a Store or Cursor that did not come from Open or Range
	ErrNoMemory    Code = -3  // out of memory
	ErrClosed      Code = -4  // the store is closed or closing
	ErrFork        Code = -5  // the store was opened before fork
	ErrReadOnly    Code = -6  // the store is open for reading only
	ErrLocked      Code = -7  // another process or Store has it open for writing
	ErrFormat      Code = -8  // the store has a newer format than this library reads
	ErrNotStore    Code = -9  // no store at this path, or its store.json cannot be read
	ErrIO          Code = -10 // input/output error; Detail has the errno or SQLite's extended code
	ErrDiskFull    Code = -11 // no space left on the device
	ErrTimeout     Code = -12 // the time limit ran out first
	ErrQueueFull   Code = -13 // no room: the quote is in memory but will not be written
	ErrNameEmpty   Code = -14 // the name is empty
	ErrNameLong    Code = -15 // the name is longer than 64 bytes
	ErrNameControl Code = -16 // the name contains a control character
	ErrNameUTF8    Code = -17 // the name is not valid UTF-8
	ErrNamePath    Code = -18 // the name has . or .. as a path component
	ErrSymbol      Code = -19 // unknown Symbol
	ErrSource      Code = -20 // unknown Source
	ErrSides       Code = -21 // both sides of the quote are absent
	ErrPrice       Code = -22 // a price is infinite
	ErrSize        Code = -23 // a size is negative or not finite
	ErrTime        Code = -24 // the time is outside the accepted window
	ErrCrossed     Code = -25 // bid above ask, and the configuration refuses crossed quotes
	ErrLimit       Code = -26 // the limit is zero, negative or too large
	ErrTableFull   Code = -27 // the table of symbols or sources has reached its configured size
	ErrDayFile     Code = -28 // a day file is damaged, truncated or not a day file
	ErrDeadline    Code = -29 // the read took longer than ReadDeadline
	ErrStruct      Code = -30 // the library loaded is older than the one this program was compiled against
	ErrConfig      Code = -31 // a configuration field is out of range
	ErrUnwritten   Code = -32 // closed or flushed, but some accepted records could not be written
	ErrNotFound    Code = -33 // nothing is stored for this symbol
	ErrInternal    Code = -34 // internal error, please report
)

// ErrLibrary is what Open returns when the dynamic linker found a libtickstore of another version than the one that the
// program was built with: see LD_LIBRARY_PATH and the program's rpath. (Where it finds none, the program does not start.)
var ErrLibrary = errors.New("tickstore: the wrong version of libtickstore")

// Error is what the library says of the code in general; an *Error has the particular message.
func (c Code) Error() string { return "tickstore: " + ctks.Strerror(int32(c)) }

// Error is what went wrong in one call.
type Error struct {
	Code    Code
	Detail  int    // SQLite's extended code or the errno that stood behind it, else 0
	Message string // one line; names the field and the value

	cause error // the context's error, where its end was the reason
}

func (e *Error) Error() string {
	if e.cause != nil {
		return "tickstore: " + e.cause.Error() + ": " + e.Message
	}
	return "tickstore: " + e.Message
}

// Is makes errors.Is find the Code and, where a context ended the wait, the context's error.
func (e *Error) Is(target error) bool {
	return target == error(e.Code) || (e.cause != nil && errors.Is(e.cause, target))
}

func asError(f *ctks.Failure) error {
	if f == nil {
		return nil
	}
	return &Error{Code: Code(f.Code), Detail: int(f.Detail), Message: f.Message}
}

// ended is the error of a wait that the context ended.
func ended(cause error, f *ctks.Failure) error {
	if f == nil {
		return cause
	}
	return &Error{Code: Code(f.Code), Detail: int(f.Detail), Message: f.Message, cause: cause}
}
