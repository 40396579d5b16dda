//go:build cloudkms

package keyring

// The clouds' own key services. They make the binary three quarters bigger and
// a cold build half as long again (docs/design/dependencies.md), so they are
// built in only where they are asked for.
import (
	_ "gocloud.dev/secrets/awskms"
	_ "gocloud.dev/secrets/azurekeyvault"
	_ "gocloud.dev/secrets/gcpkms"
)
