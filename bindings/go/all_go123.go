//go:build go1.23

package tickstore

import (
	"context"
	"errors"
	"iter"
)

// All goes through the quotes of a query, as Range does:
//
//	for quote, err := range store.All(ctx, tickstore.Query{Symbol: eurusd}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// After ErrDayFile and ErrDeadline it goes on, behind the damaged day or where it was, unless the loop is left.
func (s *Store) All(ctx context.Context, query Query) iter.Seq2[Quote, error] {
	return func(yield func(Quote, error) bool) {
		cursor, err := s.Range(ctx, query)
		if err != nil {
			yield(Quote{}, err)
			return
		}
		defer cursor.Close()
		for {
			for cursor.Next() {
				if !yield(cursor.Quote(), nil) {
					return
				}
			}
			err := cursor.Err()
			if err == nil || !yield(Quote{}, err) || !(errors.Is(err, ErrDayFile) || errors.Is(err, ErrDeadline)) {
				return
			}
		}
	}
}
