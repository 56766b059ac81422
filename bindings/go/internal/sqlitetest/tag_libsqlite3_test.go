//go:build libsqlite3

package sqlitetest

const tagged = true
