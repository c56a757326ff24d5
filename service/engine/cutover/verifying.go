package cutover

import (
	"context"
	"errors"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/method"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// verifyBefore verifies, while writers still work, what has changed since it was last found equal, so that little is left to
// be verified under the fence. What keeps it from that does not keep the finalization from going on: the fence will.
func (c *Cutover) verifyBefore(ctx context.Context) error {
	verifying, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-c.Following.Done():
			stop()
		case <-verifying.Done():
		}
	}()
	signs, err := catalog.Signs(ctx, c.sides.Source.Conn)
	if err != nil {
		return err
	}
	err = c.Auditor.Verify(verifying, func(t progress.Table) bool { return t.Changed(signs[t.Catalog.OID]) })
	var difference *trust.DifferenceError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &difference):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case verifying.Err() != nil:
		return method.Interrupted(err)
	}
	c.Job.Log.Warn("verifying before the fence", "error", err)
	c.Job.Progress.Warn("The tables could not be verified before the fence, and are verified under it: " + failure.Brief(err))
	return nil
}

// verify makes sure that every table has the same content on both sides: it reads those that may have changed since they
// were last found equal. The source is fenced and nothing is applied.
func (c *Cutover) verify(ctx context.Context) error {
	all := c.Job.Settings.VerifyAll || catalog.Major(c.sides.Source.Conn) < capture.TellsTruncates
	signs, err := catalog.Signs(ctx, c.sides.Source.Conn)
	if err != nil {
		return err
	}
	var tables []progress.Table
	for _, t := range c.Job.Progress.Tables() {
		if all || t.Changed(signs[t.Catalog.OID]) {
			tables = append(tables, t)
			continue
		}
		c.Job.Progress.Verified(verification(verify.Result{Table: t.Catalog, Source: t.Content, Target: t.Content}, true))
	}
	return trust.Verification{
		Sides:  trust.SidesOf(c.sides.Source.Conn, c.sides.Target.Conn),
		Source: c.Source.Connect,
		Target: c.Target.Connect,
		At:     c.Following.Position(),
		Signs:  signs,
		Report: func(r verify.Result) { c.Job.Progress.Verified(verification(r, false)) },
	}.Verify(ctx, c.Job, tables)
}

func verification(r verify.Result, online bool) progress.TableVerification {
	state := progress.Verified
	if !r.Equal() {
		state = progress.Mismatched
	}
	return progress.TableVerification{
		Schema: r.Table.Schema, Name: r.Table.Name, State: state, Online: online,
		SourceRows: r.Source.Rows, TargetRows: r.Target.Rows, SourceHash: r.Source.Hash, TargetHash: r.Target.Hash,
	}
}
