package open

import (
	"fmt"
	"os"
	"strings"

	"holdfast/internal/objstore"
	"holdfast/internal/objstore/azblob"
)

// azureSecret sets the credential of c from the file, or from the environment;
// with neither, the SDK's own chain is left to find one.
func azureSecret(c *azblob.Config, file string) error {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return azureSecretText(c, strings.TrimSpace(string(data)))
	}
	c.Key, c.SAS = os.Getenv("AZURE_STORAGE_KEY"), os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	if text := os.Getenv("AZURE_STORAGE_CONNECTION_STRING"); c.Key == "" && c.SAS == "" && text != "" {
		return connectionString(c, text)
	}
	return nil
}

// azureSecretText tells an account key, a SAS and a connection string apart.
func azureSecretText(c *azblob.Config, text string) error {
	switch {
	case text == "":
		return fmt.Errorf("%w: the file is empty", objstore.ErrInvalid)
	case strings.Contains(text, "AccountKey=") || strings.Contains(text, "SharedAccessSignature="):
		return connectionString(c, text)
	case strings.Contains(text, "sig="):
		c.SAS = text
	default:
		c.Key = text
	}
	return nil
}

// connectionString takes the secret, and the endpoint if c has none, out of
// "Name=value;…" (Azure Storage, "Configure connection strings"). Errors name
// fields and never say values.
func connectionString(c *azblob.Config, text string) error {
	fields := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%w: connection string: a part is not Name=value", objstore.ErrInvalid)
		}
		fields[name] = value
	}
	if a := fields["AccountName"]; a != "" && a != c.Account {
		return fmt.Errorf("%w: connection string: AccountName is %q, the URL's account %q", objstore.ErrInvalid, a, c.Account)
	}
	c.Key, c.SAS = fields["AccountKey"], fields["SharedAccessSignature"]
	if c.Key == "" && c.SAS == "" {
		return fmt.Errorf("%w: connection string has neither AccountKey nor SharedAccessSignature", objstore.ErrInvalid)
	}
	if c.Endpoint == "" {
		c.Endpoint = fields["BlobEndpoint"]
	}
	if suffix := fields["EndpointSuffix"]; c.Endpoint == "" && suffix != "" {
		c.Endpoint = "https://" + c.Account + ".blob." + suffix
	}
	return nil
}
