module github.com/libtickstore/libtickstore/bindings/go

go 1.19
