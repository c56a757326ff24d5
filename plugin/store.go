package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
	"github.com/rogpeppe/go-internal/robustio"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

// storeVersion is the version of the file's shape that this plugin reads and writes.
const storeVersion = 1

// store keeps what is saved in a file of cf's home. Reading never writes; writing replaces the file as a whole, under
// a lock, so that several plugins at once lose nothing of each other.
type store struct {
	path string
	err  error // why there is no path
}

// saved is the content of the file. Foundations are told apart by the address of their API.
type saved struct {
	Version     int                   `json:"version"`
	Foundations map[string]foundation `json:"foundations"`
}

type foundation struct {
	API *commands.SavedAPI `json:"api,omitempty"`

	// Targets by the GUID of their space.
	Targets map[string]commands.Target `json:"targets,omitempty"`
}

// newStore gives the store in cf's home.
func newStore(getenv func(string) string, system string) *store {
	home, err := cfHome(getenv, system)
	if err != nil {
		return &store{err: err}
	}
	return &store{path: filepath.Join(home, ".cf", "pg-migrate", "config.json")}
}

// cfHome finds the folder that holds .cf, as cf does.
func cfHome(getenv func(string) string, system string) (string, error) {
	if home := getenv("CF_HOME"); home != "" {
		return home, nil
	}
	home := getenv("HOME")
	if system == "windows" {
		home = getenv("HOMEDRIVE") + getenv("HOMEPATH")
		if _, err := os.Stat(home); home == "" || err != nil {
			home = getenv("USERPROFILE")
		}
	}
	if home == "" {
		return "", &commands.ConfigError{
			Path: "the home folder of cf", Err: errors.New("neither CF_HOME nor HOME is set"),
			Hint: "Set CF_HOME to the folder where cf keeps its session.",
		}
	}
	return home, nil
}

// Target gives the target saved for a space.
func (s *store) Target(cfAPI, spaceGUID string) (commands.Target, bool, error) {
	all, err := s.read()
	if err != nil {
		return commands.Target{}, false, err
	}
	target, found := all.Foundations[cfAPI].Targets[spaceGUID]
	return target, found, nil
}

// SaveTarget saves the target of a space.
func (s *store) SaveTarget(cfAPI, spaceGUID string, target commands.Target) error {
	return s.change(cfAPI, func(f *foundation) {
		if f.Targets == nil {
			f.Targets = map[string]commands.Target{}
		}
		f.Targets[spaceGUID] = target
	})
}

// RemoveTarget forgets the target of a space.
func (s *store) RemoveTarget(cfAPI, spaceGUID string) (bool, error) {
	if _, found, err := s.Target(cfAPI, spaceGUID); err != nil || !found {
		return false, err
	}
	return true, s.change(cfAPI, func(f *foundation) { delete(f.Targets, spaceGUID) })
}

// API gives the address saved for a foundation.
func (s *store) API(cfAPI string) (commands.SavedAPI, bool, error) {
	all, err := s.read()
	if err != nil || all.Foundations[cfAPI].API == nil {
		return commands.SavedAPI{}, false, err
	}
	return *all.Foundations[cfAPI].API, true, nil
}

// SaveAPI saves the address for a foundation.
func (s *store) SaveAPI(cfAPI string, address commands.SavedAPI) error {
	return s.change(cfAPI, func(f *foundation) { f.API = &address })
}

// RemoveAPI forgets the address of a foundation.
func (s *store) RemoveAPI(cfAPI string) (bool, error) {
	if _, found, err := s.API(cfAPI); err != nil || !found {
		return false, err
	}
	return true, s.change(cfAPI, func(f *foundation) { f.API = nil })
}

// read reads the file. A file that is not there holds nothing.
func (s *store) read() (*saved, error) {
	if s.err != nil {
		return nil, s.err
	}
	text, err := robustio.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &saved{Version: storeVersion, Foundations: map[string]foundation{}}, nil
	}
	if err != nil {
		return nil, s.failed("reading", err)
	}
	all := &saved{}
	if err := json.Unmarshal(text, all); err != nil || all.Version == 0 {
		if err == nil {
			err = errors.New("it names no version")
		}
		return nil, &commands.ConfigError{
			Path: s.path, Err: fmt.Errorf("reading the damaged file: %w", err),
			Hint: "Mend or delete the file, then set the target again with '" + program + " target'.",
		}
	}
	if all.Version > storeVersion {
		return nil, &commands.ConfigError{
			Path: s.path, Err: fmt.Errorf("the file has version %d, and this plugin knows %d", all.Version, storeVersion),
			Hint: "Install a newer version of the plugin.",
		}
	}
	if all.Foundations == nil {
		all.Foundations = map[string]foundation{}
	}
	return all, nil
}

// change changes what is saved for a foundation.
func (s *store) change(cfAPI string, edit func(*foundation)) error {
	if s.err != nil {
		return s.err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return s.failed("writing", err)
	}
	unlock, err := lockedfile.MutexAt(s.path + ".lock").Lock()
	if err != nil {
		return s.failed("locking", err)
	}
	defer unlock()
	all, err := s.read() // as it is now, not as it was when the command began
	if err != nil {
		return err
	}
	edited := all.Foundations[cfAPI]
	edit(&edited)
	if edited.API == nil && len(edited.Targets) == 0 {
		delete(all.Foundations, cfAPI)
	} else {
		all.Foundations[cfAPI] = edited
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return s.failed("writing", err)
	}
	if err := replace(s.path, append(text, '\n')); err != nil {
		return s.failed("writing", err)
	}
	return nil
}

// replace writes a file as a whole or not at all. Only its owner may read it.
func replace(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // not there any more if all went well
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return robustio.Rename(file.Name(), path)
}

func (s *store) failed(doing string, err error) error {
	var onPath *fs.PathError
	if errors.As(err, &onPath) {
		err = onPath.Err // the path is named already
	}
	return &commands.ConfigError{
		Path: s.path, Err: fmt.Errorf("%s the file: %w", doing, err),
		Hint: "Check who may read and write " + strings.TrimSuffix(filepath.Dir(s.path), string(filepath.Separator)) + ".",
	}
}
