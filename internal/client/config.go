package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
)

// Config says where a server is and who speaks to it.
type Config struct {
	Endpoint     string // https://host:port of the ARM API; it is also the sign-in authority
	TenantID     string
	ClientID     string
	ClientSecret string // never printed: see String
	CAFile       string // PEM; empty trusts the system's authorities only
	Subscription string // the subscription id that commands work in
}

// The environment variables, which are also the names in an env file.
const (
	EnvEndpoint     = "HOLDFAST_ENDPOINT"
	EnvTenantID     = "HOLDFAST_TENANT_ID"
	EnvClientID     = "HOLDFAST_CLIENT_ID"
	EnvClientSecret = "HOLDFAST_CLIENT_SECRET"
	EnvCAFile       = "HOLDFAST_CA_FILE"
	EnvSubscription = "HOLDFAST_SUBSCRIPTION_ID"
	EnvFile         = "HOLDFAST_ENV" // path of an env file
)

// String is the configuration without its secret.
func (c Config) String() string {
	return fmt.Sprintf("%s as %s in tenant %s, subscription %s", c.Endpoint, c.ClientID, c.TenantID, c.Subscription)
}

// GoString is String, so that %#v does not show the secret either.
func (c Config) GoString() string { return c.String() }

func (c *Config) fields() map[string]*string {
	return map[string]*string{
		EnvEndpoint:     &c.Endpoint,
		EnvTenantID:     &c.TenantID,
		EnvClientID:     &c.ClientID,
		EnvClientSecret: &c.ClientSecret,
		EnvCAFile:       &c.CAFile,
		EnvSubscription: &c.Subscription,
	}
}

// LoadConfig reads the environment and an env file, such as the admin.env that
// a server writes at its first start. path names the file; empty takes it from
// HOLDFAST_ENV, and without that there is none. Where both speak, a file named
// by path wins over the environment and one named by HOLDFAST_ENV does not.
func LoadConfig(path string, getenv func(string) string) (Config, error) {
	explicit := path != ""
	if !explicit {
		path = getenv(EnvFile)
	}
	file := map[string]string{}
	if path != "" {
		var err error
		if file, err = readEnvFile(path); err != nil {
			return Config{}, err
		}
	}
	var c Config
	for name, field := range c.fields() {
		first, second := getenv(name), file[name]
		if explicit {
			first, second = second, first
		}
		if *field = first; first == "" {
			*field = second
		}
	}
	return c, c.check()
}

// check tells what is missing or malformed, naming the variable.
func (c *Config) check() error {
	var missing []string
	for _, name := range []string{EnvEndpoint, EnvTenantID, EnvClientID, EnvClientSecret, EnvSubscription} {
		if *c.fields()[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) == 5 {
		return &Error{Reason: NotSignedIn, Code: "NoCredentials",
			Message: "No server and no credentials are configured.",
			Hint: "Name the file that the server wrote at its first start with --env DIR/admin.env or " + EnvFile +
				", or set " + strings.Join(missing, ", ") + " (and " + EnvCAFile + ")."}
	}
	if len(missing) > 0 {
		return &Error{Reason: NotSignedIn, Code: "NoCredentials", Target: missing[0],
			Message: "Not set: " + strings.Join(missing, ", ") + ".",
			Hint:    "Set it in the environment or in the file named with --env."}
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return &Error{Reason: Usage, Code: "InvalidEndpoint", Target: EnvEndpoint,
			Message: fmt.Sprintf("%s is %q; it must be https://HOST[:PORT] and nothing more.", EnvEndpoint, redactURL(c.Endpoint))}
	}
	c.Endpoint = "https://" + u.Host
	return nil
}

// redactURL takes user, query and fragment out of s, for messages.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "not a URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func readEnvFile(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		e := &Error{Reason: NotSignedIn, Code: "NoCredentials", Target: path, Cause: err,
			Message: "The env file " + path + " cannot be read."}
		if errors.Is(err, fs.ErrNotExist) {
			e.Hint = "The server writes admin.env into its data directory at its first start."
		}
		return nil, e
	}
	defer f.Close()
	vars, err := ParseEnv(f)
	if err != nil {
		return nil, &Error{Reason: NotSignedIn, Code: "InvalidEnvFile", Target: path, Cause: err,
			Message: "The env file " + path + " is not one."}
	}
	return vars, nil
}

// envFileLimit is the largest env file that is read, bytes.
const envFileLimit = 1 << 20

// ParseEnv reads lines of NAME=VALUE. Blank lines and lines that start with #
// are skipped, a leading "export " is allowed, and a value may stand in single
// or double quotes as a shell has them; nothing in it is expanded. Errors name
// the line and never show it, as it may hold a secret.
func ParseEnv(r io.Reader) (map[string]string, error) {
	vars := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, envFileLimit))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || !isEnvName(name) {
			return nil, fmt.Errorf("line %d is not NAME=VALUE", n)
		}
		value, err := unquote(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		vars[name] = value
	}
	return vars, lines.Err()
}

func isEnvName(s string) bool {
	for i, c := range s {
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func unquote(s string) (string, error) {
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	if len(s) < 2 || s[len(s)-1] != s[0] {
		return "", errors.New("the quote is not closed")
	}
	value := s[1 : len(s)-1]
	if s[0] == '\'' {
		// How a shell writes a quote between single quotes.
		value = strings.ReplaceAll(value, `'\''`, "'")
	}
	return value, nil
}
