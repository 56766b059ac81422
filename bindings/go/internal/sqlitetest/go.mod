module github.com/libtickstore/libtickstore/bindings/go/internal/sqlitetest

go 1.19

require (
	github.com/libtickstore/libtickstore/bindings/go v0.0.0
	github.com/mattn/go-sqlite3 v1.14.22
)

replace github.com/libtickstore/libtickstore/bindings/go => ../..
