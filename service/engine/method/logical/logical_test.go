package logical_test

import (
	"os"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/logical"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method/methodtest"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func TestMethod(t *testing.T) {
	t.Parallel()
	methodtest.Test(t, ledger.Logical, func(j *job.Job, s job.Sides) method.Method { return logical.New(j, s) })
}
