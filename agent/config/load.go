package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Load reads the file at path, the environment and the flags that AddFlags
// defined on the set, which may be nil. An empty path stands for no file. The
// error joins an *Error for each thing that is wrong.
func Load(path string, flags *pflag.FlagSet) (*Config, error) {
	cfg, _, err := load(path, flags)
	return cfg, err
}

func load(path string, flags *pflag.FlagSet) (*Config, *loader, error) {
	if path == "" {
		return parse("", nil, flags)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w (`penstock config default` prints one to begin with)", err)
	}
	return parse(path, data, flags)
}

// Parse is Load for a file that has been read. Its name is used in errors.
func Parse(name string, data []byte, flags *pflag.FlagSet) (*Config, error) {
	cfg, _, err := parse(name, data, flags)
	return cfg, err
}

// parse also returns where everything comes from.
func parse(name string, data []byte, flags *pflag.FlagSet) (*Config, *loader, error) {
	l := &loader{file: parseFile(name, data), flags: flags}
	all := slices.Clone(l.file.faults)
	all = append(all, l.strayEnvironment()...)
	cfg := Default()
	found := l.scalars(cfg)
	cfg.BGP.Peers = entries(l, &found, peersKey, defaultPeer, peerSettings)
	for i := range cfg.BGP.Peers {
		if p := &cfg.BGP.Peers[i]; p.Name == "" {
			p.Name = p.defaultName()
		}
	}
	cfg.BGP.Advertisements = entries(l, &found, advertisementsKey, defaultAdvertisement, advertisementSettings)
	cfg.Pools = entries(l, &found, poolsKey, defaultPool, poolSettings)
	found = append(found, cfg.resolve()...)
	if len(all)+len(found) == 0 {
		found = cfg.faults()
	} else {
		found = append(found, withoutKeys(cfg.faults(), append(slices.Clone(all), found...))...)
	}
	for _, e := range found {
		e.Source, e.line = l.origin(e.Key)
	}
	if err := append(all, found...).join(); err != nil {
		return nil, nil, err
	}
	return cfg, l, nil
}

// withoutKeys leaves out of f what is about keys that have a fault already, or
// are below such a key.
func withoutKeys(f, have faults) faults {
	return slices.DeleteFunc(f, func(e *Error) bool {
		return slices.ContainsFunc(have, func(h *Error) bool { return h.Key == e.Key || h.Key != "" && strings.HasPrefix(e.Key, h.Key+".") })
	})
}

type loader struct {
	file  *file
	flags *pflag.FlagSet
}

// scalars fills everything but the lists of sections: flag over environment over file over
// default.
func (l *loader) scalars(cfg *Config) (found faults) {
	v := viper.New()
	fromFile := map[string]any{}
	for key, text := range l.file.text {
		fromFile[key] = text
	}
	if err := v.MergeConfigMap(fromFile); err != nil {
		found.add("", "", "%w", err)
	}
	for _, s := range settings {
		v.SetDefault(s.Name, s.at(cfg).String())
		_ = v.BindEnv(s.Name, envName(s.Name)) // fails without a name only
		if f := l.flag(s.Name); f != nil {
			_ = v.BindPFlag(s.Name, f) // fails without a flag only
		}
	}
	for _, s := range settings {
		set(&found, s.at(cfg), s.Name, v.GetString(s.Name))
	}
	return found
}

// entries gives those of a list, which stand in the file alone.
func entries[C any](l *loader, found *faults, key string, empty func() C, settings []setting[C]) (out []C) {
	for i := range l.file.items[key] {
		entry := empty()
		for _, s := range settings {
			name := entryKey(key, i, s.Name)
			if text, ok := l.file.text[name]; ok {
				set(found, s.at(&entry), name, text)
			}
		}
		out = append(out, entry)
	}
	return out
}

// set keeps the text of a secret out of the error.
func set(found *faults, to value, key, text string) {
	err := to.Set(text)
	if err == nil {
		return
	}
	if _, secret := to.(secretValue); secret {
		text = ""
	}
	found.add(key, text, "%w", err)
}

// origin says where the value of key comes from, with the line in the file;
// empty for a default.
func (l *loader) origin(key string) (string, int) {
	if f := l.flag(key); f != nil && f.Changed {
		return "flag --" + f.Name, 0
	}
	if _, ok := listAbove(key); ok {
		for k := key; k != ""; k = k[:max(0, strings.LastIndexByte(k, '.'))] {
			if line, ok := l.file.line[k]; ok {
				return l.file.at(line), line
			}
		}
	}
	if os.Getenv(envName(key)) != "" {
		return "environment " + envName(key), 0
	}
	if line, ok := l.file.line[key]; ok {
		return l.file.at(line), line
	}
	return l.file.name, 0
}

func (l *loader) flag(key string) *pflag.Flag {
	if l.flags == nil {
		return nil
	}
	return l.flags.Lookup(flagName(key))
}

// strayEnvironment refuses variables that look like a mistyped one of ours.
// Others with the prefix are left alone: Kubernetes makes PENSTOCK_SERVICE_HOST
// and the like for a Service called penstock.
func (l *loader) strayEnvironment() (found faults) {
	var ours []string
	for _, key := range settingKeys() {
		ours = append(ours, envName(key))
	}
	environ := os.Environ()
	slices.Sort(environ)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(ours, name) {
			continue
		}
		var err error
		if i := slices.IndexFunc(lists, func(l list) bool { return name == envName(l.key) }); i >= 0 {
			err = fmt.Errorf("%ss can be set in the file only; remove the variable", lists[i].item)
		} else if hint := suggest(name, ours); hint != "" {
			err = fmt.Errorf("unknown variable%s", hint)
		}
		if err != nil {
			found = append(found, &Error{Source: "environment " + name, Err: err})
		}
	}
	return found
}
