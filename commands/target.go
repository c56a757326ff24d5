package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

func targetCommand() Command {
	return Command{
		Name:     "target",
		Synopses: []string{"SOURCE_INSTANCE SOURCE_KEY TARGET_INSTANCE TARGET_KEY [--no-check]", "", "--unset"},
		Summary:  "Set, show or forget the migration's source and target",
		Details: "Looks up the two service instances and their service keys in the targeted space and saves\n" +
			"the names for this space. All other subcommands refer to them. A second call overwrites.\n" +
			"Without names it shows what is saved and the address of the migration API.",
		make: func() options { return &targetOptions{} },
	}
}

type targetOptions struct {
	target  *Target // nil to show
	noCheck bool
	unset   bool
}

func (o *targetOptions) flags() []Flag {
	return []Flag{
		switchFlag("no-check", "", "Save the names without looking them up", &o.noCheck),
		switchFlag("unset", "", "Forget the saved target", &o.unset),
	}
}

func (o *targetOptions) names(names []string) error {
	switch {
	case o.unset && o.noCheck:
		return usageError("--no-check has no meaning with --unset.")
	case o.unset:
		return noNames(names)
	case len(names) == 0 && o.noCheck:
		return usageError("--no-check has a meaning with names only.")
	case len(names) == 0:
		return nil
	case len(names) < 4:
		return usageError("Four names are needed, %d given: source instance, its key, target instance, its key.", len(names))
	case len(names) > 4:
		return noNames(names[4:])
	}
	for _, name := range names {
		if name == "" {
			return usageError("A name is empty.")
		}
	}
	if names[0] == names[2] {
		return usageError("Source and target are the same service instance, %q.", names[0])
	}
	o.target = &Target{SourceInstance: names[0], SourceKey: names[1], TargetInstance: names[2], TargetKey: names[3]}
	return nil
}

func (o *targetOptions) run(ctx context.Context, i *invocation) error {
	if err := i.needSpace(ctx); err != nil {
		return err
	}
	switch {
	case o.unset:
		return o.forget(i)
	case o.target == nil:
		return o.show(i)
	default:
		return o.save(ctx, i)
	}
}

func (o *targetOptions) show(i *invocation) error {
	target, err := i.savedTarget()
	if err != nil {
		return err
	}
	i.result.Target = &TargetDocument{Instances: i.instances(target)}
	at, why := "", ""
	found, err := i.address()
	if err != nil { // the target is worth showing all the same
		why = i.describe(err).Message + " " + i.describe(err).Hint
	} else {
		at = found.url.String()
		i.result.Target.API, i.result.API = at, found.document()
	}
	i.Streams.Target(i.result.Target.Instances, i.login.API, at)
	if why != "" {
		i.Streams.Note("%s", why)
	}
	return nil
}

func (o *targetOptions) forget(i *invocation) error {
	existed, err := i.Store.RemoveTarget(i.login.API, i.login.Space.GUID)
	if err != nil {
		return err
	}
	if !existed {
		i.Streams.Note("No target was saved for %s.", i.where())
	} else {
		i.Streams.Note("The target of %s is forgotten.", i.where())
	}
	return nil
}

func (o *targetOptions) save(ctx context.Context, i *invocation) error {
	i.result.Target = &TargetDocument{Instances: i.instances(*o.target)}
	if found, err := i.address(); err == nil { // not needed to save names
		i.result.Target.API = found.url.String()
	}
	if !o.noCheck {
		i.banner("Looking up the migration", i.result.Target.Instances)
		if err := o.lookUp(ctx, i); err != nil {
			return err
		}
	}
	if err := i.Store.SaveTarget(i.login.API, i.login.Space.GUID, *o.target); err != nil {
		return err
	}
	i.Streams.OK()
	i.Streams.Next("check both databases with '%s preflight-check'", i.Program)
	return nil
}

// lookUp makes sure that all four names exist in the targeted space.
func (o *targetOptions) lookUp(ctx context.Context, i *invocation) error {
	u, err := parseAddress(i.login.API)
	if err != nil {
		return &Failure{
			Code: NoAPI, Message: fmt.Sprintf("The Cloud Foundry API %s is not asked: %v.", i.login.API, err), err: err,
			Hint: "With --no-check the names are saved without looking them up.",
		}
	}
	cloud, err := client.NewCloudController(client.Options{
		URL: u, Tokens: i.Session, UserAgent: i.UserAgent, SkipSSLValidation: i.login.SkipSSLValidation, Trace: i.Trace, Sleep: i.Clock.Sleep,
	})
	if err != nil {
		return fmt.Errorf("making a client of the Cloud Foundry API: %w", err)
	}
	for _, pair := range [][2]string{{o.target.SourceInstance, o.target.SourceKey}, {o.target.TargetInstance, o.target.TargetKey}} {
		if err := i.lookUpKey(ctx, cloud, pair[0], pair[1]); err != nil {
			return i.describeLookUp(err)
		}
	}
	return nil
}

// lookUpKey makes sure that a service instance has a key.
func (i *invocation) lookUpKey(ctx context.Context, cloud *client.CloudController, instance, key string) error {
	space := i.login.Space.GUID
	instances, err := cloud.ServiceInstances(ctx, space, instance)
	if err != nil {
		return err
	}
	if len(instances) == 0 {
		all, err := cloud.ServiceInstances(ctx, space, "")
		if err != nil {
			return err
		}
		return &Failure{
			Code:    NotFound,
			Message: fmt.Sprintf("Service instance %q does not exist in %s.%s", instance, i.where(), didYouMean(instance, namesOf(all))),
			Hint:    "See which exist with 'cf services'.",
		}
	}
	if instances[0].Type == "user-provided" {
		return &Failure{
			Code:    NotFound,
			Message: fmt.Sprintf("Service instance %q is user-provided, and such an instance has no service keys.", instance),
			Hint:    "See which others exist with 'cf services'.",
		}
	}
	keys, err := cloud.ServiceKeys(ctx, instances[0].GUID, key)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		return nil
	}
	all, err := cloud.ServiceKeys(ctx, instances[0].GUID, "")
	if err != nil {
		return err
	}
	return &Failure{
		Code:    NotFound,
		Message: fmt.Sprintf("Service key %q of service instance %q does not exist.%s", key, instance, didYouMean(key, namesOf(all))),
		Hint:    fmt.Sprintf("Create it with 'cf create-service-key %s %s'.", quote(instance), quote(key)),
	}
}

// describeLookUp takes away what describe says of the migration API: here the Cloud Foundry API was asked.
func (i *invocation) describeLookUp(err error) error {
	failure := *i.describe(err)
	if failure.Code == Unavailable || failure.Code == BadResponse || failure.Code == NoAPI {
		failure.Hint = "With --no-check the names are saved without looking them up."
	}
	return &failure
}

func namesOf(resources []client.Resource) []string {
	var names []string
	for _, r := range resources {
		names = append(names, r.Name)
	}
	return names
}
