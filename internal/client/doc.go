// Package client speaks to a Holdfast server in the only language that it has:
// the Azure Resource Manager API.
//
// Wherever Azure's own SDK for Go has a client for an operation, that client is
// used, unmodified; where Holdfast adds members which the SDK's models lack
// (properties.holdfast of a vault and of a restore request, the site resource),
// the same models are sent with the extra members through an azcore ARM
// pipeline with the same credential. What the server answers is given in two
// forms: as it was sent (Raw, for people who pipe it into something that knows
// ARM) and as a plain Go value, so that nobody above has to follow the SDK's
// pointers.
//
// It promises: the token goes to the configured endpoint and nowhere else; the
// secret is in no error, no trace and no String; a request that starts work is
// sent once and never repeated on its own; reading is repeated a few times.
// Every error is an *Error. It does not cache, and it keeps no state on disk.
package client
