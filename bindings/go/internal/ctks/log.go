package ctks

// #include <stdint.h>
// #include <stddef.h>
import "C"

import "runtime/cgo"

// LogFunc receives one line of the library's log, on any of its threads.
type LogFunc func(level int32, message string)

//export tksGoLog
func tksGoLog(handle C.uintptr_t, level C.int32_t, message *C.char, length C.size_t) {
	cgo.Handle(handle).Value().(LogFunc)(int32(level), C.GoStringN(message, C.int(length)))
}
