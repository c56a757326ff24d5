package acceptance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// shop is an app that takes orders: it inserts a row again and again into the table orders of the database that it is bound
// to, and goes on when that fails, as an app does.
type shop struct {
	taken atomic.Int64 // orders that the database has confirmed

	stop  context.CancelFunc
	ended chan struct{}
}

func (s *shop) Start(ctx context.Context, environment map[string]string) error {
	var services map[string][]struct {
		Credentials struct {
			URI string `json:"uri"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal([]byte(environment["VCAP_SERVICES"]), &services); err != nil {
		return fmt.Errorf("reading VCAP_SERVICES: %w", err)
	}
	bound := services["postgresql-db"]
	if len(bound) != 1 {
		return errors.New("the shop wants one database")
	}
	// An app that cannot take orders is not healthy.
	if err := s.order(ctx, bound[0].Credentials.URI); err != nil {
		return err
	}
	// An order that is under way is not given up when the shop stops: whether it was taken would be unknown.
	orders := context.WithoutCancel(ctx)
	running, stop := context.WithCancel(orders)
	s.stop = stop
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		for running.Err() == nil {
			_ = s.order(orders, bound[0].Credentials.URI)
			select {
			case <-running.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return nil
}

func (s *shop) Stop() {
	s.stop()
	<-s.ended
}

// order takes one order.
func (s *shop) order(ctx context.Context, uri string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return fmt.Errorf("connecting to the shop's database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `INSERT INTO orders (item) VALUES ('a book')`); err != nil {
		return fmt.Errorf("taking an order: %w", err)
	}
	s.taken.Add(1)
	return nil
}

// find counts the orders in a database.
func (s *shop) find(ctx context.Context, uri string) (found int64, err error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return 0, fmt.Errorf("connecting to the shop's database: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, `SELECT count(*) FROM orders WHERE item = 'a book'`).Scan(&found)
	return found, err
}
