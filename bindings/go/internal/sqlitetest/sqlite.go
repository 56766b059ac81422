// Package sqlitetest proves that a program may use libtickstore and mattn/go-sqlite3 at once, when both stand on the
// system's one SQLite (-tags libsqlite3). It is a module of its own, so that nobody inherits the dependency.
package sqlitetest
