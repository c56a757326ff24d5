package commands

import (
	"context"
	"os"
	"path/filepath"
)

func apiCommand() Command {
	return Command{
		Name:     "api",
		Synopses: []string{"", "URL [--skip-ssl-validation] [--ca-cert FILE]", "--unset"},
		Summary:  "Show, set or reset the address of the migration API",
		Details: "Without a saved address it follows from the Cloud Foundry API: https://api.cf.LANDSCAPE gives\n" +
			"https://pg-migrate.cf.LANDSCAPE. PG_MIGRATE_API in the environment wins over both.",
		make: func() options { return &apiOptions{} },
	}
}

type apiOptions struct {
	saved *SavedAPI // nil to show
	skip  bool
	ca    string
	unset bool
}

func (o *apiOptions) flags() []Flag {
	return []Flag{
		switchFlag("unset", "", "Forget the saved address", &o.unset),
		switchFlag("skip-ssl-validation", "", "Accept any certificate of this address; not for production", &o.skip),
		{Name: "ca-cert", Value: "FILE", Text: "Trust the certificates in this PEM file, besides the system's", set: func(value string) error {
			if value == "" {
				return usageError("--ca-cert needs a file.")
			}
			o.ca = value
			return nil
		}},
	}
}

func (o *apiOptions) names(names []string) error {
	switch {
	case o.unset && (o.skip || o.ca != ""):
		return usageError("--skip-ssl-validation and --ca-cert have no meaning with --unset.")
	case o.unset:
		return noNames(names)
	case len(names) == 0 && (o.skip || o.ca != ""):
		return usageError("--skip-ssl-validation and --ca-cert have a meaning with a URL only.")
	case len(names) == 0:
		return nil
	case len(names) > 1:
		return noNames(names[1:])
	}
	u, err := parseAddress(names[0])
	if err != nil {
		return usageError("This is no address of the migration API: %v.", err) // which may hold a password
	}
	o.saved = &SavedAPI{URL: u.String(), SkipSSLValidation: o.skip, CACert: o.ca}
	return nil
}

func (o *apiOptions) run(ctx context.Context, i *invocation) error {
	if err := i.needAPI(ctx); err != nil {
		return err
	}
	switch {
	case o.unset:
		if _, err := i.Store.RemoveAPI(i.login.API); err != nil {
			return err
		}
	case o.saved != nil:
		if err := o.save(i); err != nil {
			return err
		}
	}
	found, err := i.address()
	if err != nil {
		if o.unset { // forgotten, as was asked; what follows is the next command's business
			i.Streams.Note("%s %s", i.describe(err).Message, i.describe(err).Hint)
			return nil
		}
		return err
	}
	i.result.API = found.document()
	i.Streams.API(found.url.String(), string(found.origin), found.skipSSLValidation, found.caCert)
	if o.saved != nil && !sameDomain(o.saved.URL, i.login.API) {
		i.Streams.Note("This address is outside the domain of %s. Your token goes there with every request.", i.login.API)
	}
	if o.saved != nil && found.url.String() != o.saved.URL {
		i.Streams.Note("%s in the environment wins over the address that was saved.", addressVariable)
	}
	return nil
}

// save checks the certificates and saves the address with the file's absolute path.
func (o *apiOptions) save(i *invocation) error {
	if o.saved.CACert != "" {
		path, err := filepath.Abs(o.saved.CACert)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return caFailure(i.Program, err)
		}
		o.saved.CACert = path
		u, err := parseAddress(o.saved.URL)
		if err != nil {
			return caFailure(i.Program, err)
		}
		if _, err := i.migrations(&address{url: u, caCert: path}, i.Session); err != nil {
			return err
		}
	}
	return i.Store.SaveAPI(i.login.API, *o.saved)
}
