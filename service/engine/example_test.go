package engine_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// A whole migration: Run copies and carries changes in the background, Finalize ends it as soon as the target is in sync. It
// is not run as a test, because it needs two servers; the tests of this package do the same.
func ExampleEngine_NewReplication() {
	ctx := context.Background()
	source := database.Database{Host: "db-old.example.com", Port: 5432, Name: "app", User: "app", Password: "from a service key"}
	target := database.Database{Host: "db-new.example.com", Port: 5432, Name: "app", User: "app", Password: "from a service key"}
	e := &engine.Engine{Settings: engine.Defaults(), Log: slog.Default()}
	r := e.NewReplication(engine.Migration{
		ID:    "0a1b2c3d",
		Epoch: 1,
		Databases: func(context.Context) (database.Database, database.Database, error) {
			return source, target, nil
		},
	})
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	for !r.Progress().InSync {
		select {
		case err := <-ran:
			log.Fatal(err)
		case <-time.After(time.Second):
		}
	}
	opened := func(context.Context) error { return nil } // store that the target is the truth
	if err := r.Finalize(ctx, opened); err != nil {
		log.Fatal(err)
	}
	if err := <-ran; err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.FinalizationProgress().FencedSeconds, "seconds without writes")
}
