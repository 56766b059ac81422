package tickstore

import (
	"math"
	"time"
)

// Symbol is an interned symbol: a number that Store.Symbol gives to a name, the same for the same name until the Store
// is closed. It means nothing to another Store; names do.
type Symbol uint32

// Source is an interned liquidity provider or venue. 0 is none.
type Source uint32

// Flags of a Quote.
type Flags uint32

const (
	FlagCrossed  Flags = 0x1        // bid above ask; set by the store
	FlagUserMask Flags = 0xffff0000 // the caller's, stored and returned as given
)

// Quote is one top-of-book quote. Its layout is that of the C library's tks_quote, so a []Quote is passed to it as it
// is.
//
// Prices come back bit for bit (but every NaN as the one quiet NaN, and -0 as 0). NaN means that the side is absent; one side must be present. Negative prices are
// legal, infinite ones are not.
type Quote struct {
	TsNS    int64   // event time, nanoseconds since 1970-01-01T00:00:00Z; decides the UTC day file
	RecvNS  int64   // when it was received, likewise; 0 = not known. Stored as given
	Seq     uint64  // the store-wide sequence number, set by the store; ignored by Put
	Bid     float64 // price or NaN
	Ask     float64 // price or NaN
	BidSize float64 // >= 0; 0 = none or not known
	AskSize float64 // >= 0; 0 = none or not known
	Symbol  Symbol  // from Store.Symbol
	Source  Source  // from Store.Source; 0 = none
	Flags   Flags   // of what the caller sets, only FlagUserMask is kept

	reserved uint32
}

// Time is the event time, in UTC.
func (q Quote) Time() time.Time { return nsTime(q.TsNS) }

// Received is when the quote was received, in UTC; the zero Time if that is not known.
func (q Quote) Received() time.Time {
	if q.RecvNS == 0 {
		return time.Time{}
	}
	return nsTime(q.RecvNS)
}

func nsTime(ns int64) time.Time { return time.Unix(0, ns).UTC() }

var earliest, latest = nsTime(math.MinInt64), nsTime(math.MaxInt64)

// timeNS counts nanoseconds since 1970. What does not fit (before 1677 or after 2262) becomes the nearest that does,
// which no store accepts as an event time, instead of wrapping around to one that it would.
func timeNS(t time.Time) int64 {
	if t.Before(earliest) {
		return math.MinInt64
	}
	if t.After(latest) {
		return math.MaxInt64
	}
	return t.UnixNano()
}
