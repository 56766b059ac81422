// Package ctest is C code that tests measure Go against. No other package imports it.
package ctest

// #cgo pkg-config: tickstore
// #include <time.h>
// #include <tickstore/tickstore.h>
//
// static int64_t now_ns(void) {
//   struct timespec t;
//   clock_gettime(CLOCK_MONOTONIC, &t);
//   return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
// }
//
// static int64_t put_each(tks_store *store, const tks_quote *quotes, size_t count, size_t *failed) {
//   tks_error error;
//   uint64_t seq;
//   int64_t started = now_ns();
//   for (size_t i = 0; i < count; i++) *failed += tks_put_quote(store, &quotes[i], &seq, &error) < 0;
//   return now_ns() - started;
// }
//
// static int64_t put_batches(tks_store *store, const tks_quote *quotes, size_t count, size_t batch, size_t *failed) {
//   tks_error error;
//   tks_put_result result;
//   int64_t started = now_ns();
//   for (size_t i = 0; i + batch <= count; i += batch)
//     *failed += tks_put_quotes(store, &quotes[i], batch, NULL, &result, &error) != TKS_OK;
//   return now_ns() - started;
// }
import "C"

import (
	"time"
	"unsafe"
)

// PutEach puts count quotes one by one in a C loop. It returns the time taken and how many puts failed.
func PutEach(store, quotes unsafe.Pointer, count int) (time.Duration, int) {
	var failed C.size_t
	ns := C.put_each((*C.tks_store)(store), (*C.tks_quote)(quotes), C.size_t(count), &failed)
	return time.Duration(ns), int(failed)
}

// PutBatches is PutEach with arrays of batch quotes.
func PutBatches(store, quotes unsafe.Pointer, count, batch int) (time.Duration, int) {
	var failed C.size_t
	ns := C.put_batches((*C.tks_store)(store), (*C.tks_quote)(quotes), C.size_t(count), C.size_t(batch), &failed)
	return time.Duration(ns), int(failed)
}
