package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
)

// session stands in for the session of the cf CLI.
type session struct{}

func (session) AccessToken(context.Context) (string, error) { return "a.good.token", nil }

// options lead to a server.
func options(server *clienttest.API) client.Options {
	address, err := url.Parse(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	return client.Options{URL: address, Tokens: session{}, UserAgent: "release-script/1.0"}
}

var shop = api.Instances{
	Org: "acme", Space: "prod",
	SourceServiceInstanceName: "shop-db", SourceServiceKeyName: "migration",
	TargetServiceInstanceName: "shop-db-new", TargetServiceKeyName: "migration",
}

func ExampleMigrations() {
	service := clienttest.Start()
	defer service.Close()
	service.On("POST /v1/replication", clienttest.Accepted())
	service.On("GET /v1/replication", clienttest.Status("RUNNING"))

	migrations, err := client.NewMigrations(options(service))
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	if err := migrations.CreateReplication(ctx, shop); err != nil {
		log.Fatal(err)
	}
	status, err := migrations.Replication(ctx, shop)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status)
	// Output: RUNNING
}

// What a caller learns of a call that failed.
func ExampleError() {
	service := clienttest.Start()
	defer service.Close()
	service.On("POST /v1/finalization", clienttest.Problem(409, "NOT_IN_SYNC", "the replication is RUNNING"))

	migrations, err := client.NewMigrations(options(service))
	if err != nil {
		log.Fatal(err)
	}

	err = migrations.CreateFinalization(context.Background(), shop)
	fmt.Println(err)
	var failure *client.Error
	if errors.As(err, &failure) && failure.Kind == client.Conflict {
		fmt.Println("refused for now, and certainly not done:", !failure.Uncertain())
	}
	// Output:
	// could not create the finalization: the replication is RUNNING (request req-1)
	// refused for now, and certainly not done: true
}

func ExampleCloudController() {
	foundation := clienttest.Start()
	defer foundation.Close()
	foundation.On("GET /v3/service_instances", clienttest.JSON(map[string]any{
		"resources": []map[string]string{{"guid": "4f2a", "name": "shop-db", "type": "managed"}},
	}))

	cloud, err := client.NewCloudController(options(foundation))
	if err != nil {
		log.Fatal(err)
	}
	instances, err := cloud.ServiceInstances(context.Background(), "guid-of-the-space", "shop-db")
	if err != nil {
		log.Fatal(err)
	}
	for _, instance := range instances {
		fmt.Println(instance.Name, "is", instance.Type)
	}
	// Output: shop-db is managed
}
