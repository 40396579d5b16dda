package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservices"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// The api-versions of what is sent without an SDK client. They are those that
// the SDK clients of the same areas send.
const (
	siteVersion   = "2026-11-01" // Holdfast.Site (architecture.md)
	vaultVersion  = "2023-04-01" // armrecoveryservices v1.6.0
	backupVersion = "2025-02-01" // armrecoveryservicesbackup v4.2.0
)

// Client is a signed-in caller of one server and one subscription. It is safe
// for concurrent use.
type Client struct {
	config    Config
	transport *transport
	arm       *arm.Client // for what the SDK clients cannot say
	backup    *backup.ClientFactory
	vaults    *armrecoveryservices.VaultsClient
	vms       *armcompute.VirtualMachinesClient
	// poll is the pause between two looks at an operation or a job.
	poll time.Duration
	// patience is how long following a job bears a server that does not answer.
	patience time.Duration
}

// Options are what a Client may be told beside its Config. The zero value is
// good.
type Options struct {
	Trace    io.Writer     // one line per request; never holds a secret
	Poll     time.Duration // between two looks at running work; 0 is half a second
	Patience time.Duration // for a server that went away while work is followed; 0 is two minutes
	Once     bool          // do not repeat what got no answer
}

// New makes a Client. It reads the CA file and asks the server nothing yet.
func New(config Config, o Options) (*Client, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	t, err := newTransport(config.CAFile, o.Trace)
	if err != nil {
		return nil, err
	}
	c := &Client{config: config, transport: t, poll: o.Poll, patience: o.Patience}
	if c.poll == 0 {
		c.poll = 500 * time.Millisecond
	}
	if c.patience == 0 {
		c.patience = 2 * time.Minute
	}
	options := c.clientOptions(o.Once)
	cred, err := azidentity.NewClientSecretCredential(config.TenantID, config.ClientID, config.ClientSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options.ClientOptions, DisableInstanceDiscovery: true})
	if err != nil {
		return nil, &Error{Reason: NotSignedIn, Code: "NoCredentials", Message: "The credentials cannot be used.", Cause: err, Hint: signInHint}
	}
	return c, c.open(cred, options)
}

// clientOptions are those of all SDK clients (contract, section 3: the endpoint
// is the authority, and it is not asked whether Microsoft knows it).
func (c *Client) clientOptions(once bool) *arm.ClientOptions {
	retries := int32(2)
	if once {
		retries = -1
	}
	endpoint, _ := url.Parse(c.config.Endpoint) // check has parsed it before
	return &arm.ClientOptions{
		DisableRPRegistration: true,
		ClientOptions: policy.ClientOptions{
			Transport:       c.transport,
			PerCallPolicies: []policy.Policy{atEndpoint{endpoint}},
			Retry:           policy.RetryOptions{MaxRetries: retries, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 2 * time.Second},
			Telemetry:       policy.TelemetryOptions{ApplicationID: "holdfast"},
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: c.config.Endpoint,
				Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
					cloud.ResourceManager: {Endpoint: c.config.Endpoint, Audience: c.config.Endpoint},
				},
			},
		},
	}
}

func (c *Client) open(cred azcore.TokenCredential, o *arm.ClientOptions) (err error) {
	if c.arm, err = arm.NewClient("holdfast/internal/client", "v1.0.0", cred, o); err != nil {
		return err
	}
	if c.backup, err = backup.NewClientFactory(c.config.Subscription, cred, o); err != nil {
		return err
	}
	if c.vaults, err = armrecoveryservices.NewVaultsClient(c.config.Subscription, cred, o); err != nil {
		return err
	}
	c.vms, err = armcompute.NewVirtualMachinesClient(c.config.Subscription, cred, o)
	return err
}

// Subscription is the id of the subscription that the client works in.
func (c *Client) Subscription() string { return c.config.Subscription }

// groupID is the ARM id of a resource group.
func (c *Client) groupID(group string) string {
	return "/subscriptions/" + c.config.Subscription + "/resourceGroups/" + group
}

// answer runs call, which is one request of an SDK client, and returns the
// response as it came.
func (c *Client) answer(ctx context.Context, call func(ctx context.Context) error) (*http.Response, error) {
	var resp *http.Response
	if err := call(policy.WithCaptureResponse(ctx, &resp)); err != nil {
		return nil, c.translate(ctx, err)
	}
	return resp, nil
}

// get runs call and decodes the resource that it answers.
func get[T any](ctx context.Context, c *Client, decode func(json.RawMessage) (T, error), call func(ctx context.Context) error) (T, error) {
	var zero T
	resp, err := c.answer(ctx, call)
	if err != nil {
		return zero, err
	}
	raw, err := runtime.Payload(resp)
	if err != nil {
		return zero, c.translate(ctx, err)
	}
	return decoded(decode, raw)
}

// list turns all pages of pager and decodes each resource in them.
func list[P, T any](ctx context.Context, c *Client, decode func(json.RawMessage) (T, error), pager *runtime.Pager[P]) ([]T, error) {
	all := []T{}
	for pager.More() {
		resp, err := c.answer(ctx, func(ctx context.Context) error { _, err := pager.NextPage(ctx); return err })
		if err != nil {
			return nil, err
		}
		var page struct {
			Value []json.RawMessage `json:"value"`
		}
		if err := runtime.UnmarshalAsJSON(resp, &page); err != nil {
			return nil, c.translate(ctx, err)
		}
		for _, raw := range page.Value {
			one, err := decoded(decode, raw)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

func decoded[T any](decode func(json.RawMessage) (T, error), raw json.RawMessage) (T, error) {
	v, err := decode(raw)
	if err != nil {
		return v, &Error{Reason: Internal, Code: "UnexpectedAnswer", Message: "The server's answer could not be read.", Cause: err}
	}
	return v, nil
}

// url is where the resource of an ARM id is, or an action below it.
func (c *Client) url(id, version string) string {
	return c.config.Endpoint + escape(id) + "?api-version=" + version
}

// send sends one request that no SDK client has through the ARM pipeline. body
// may be nil. Any status of ok is a success.
func (c *Client) send(ctx context.Context, method, url string, body any, ok ...int) (*http.Response, error) {
	req, err := runtime.NewRequest(ctx, method, url)
	if err != nil {
		return nil, c.translate(ctx, err)
	}
	req.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return nil, c.translate(ctx, err)
		}
	}
	resp, err := c.arm.Pipeline().Do(req)
	if err != nil {
		return nil, c.translate(ctx, err)
	}
	if !runtime.HasStatusCode(resp, ok...) {
		return nil, c.translate(ctx, runtime.NewResponseError(resp))
	}
	return resp, nil
}

// escape escapes each segment of an ARM id, as the SDK clients do (a container's
// name holds semicolons).
func escape(id string) string {
	segments := strings.Split(id, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/")
}

// onceOnly keeps the pipeline from repeating a request that starts work: its
// answer may be what was lost.
func onceOnly(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// value is what p points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// each goes over a list of the SDK's, without the nulls that JSON may have in it.
func each[T any](list []*T) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, one := range list {
			if one != nil && !yield(one) {
				return
			}
		}
	}
}

// moment is what p points to in UTC; times that ARM calls not known yet
// (contract, section 7: year 1) are the zero time.
func moment(p *time.Time) time.Time {
	if p == nil || p.Year() <= 1 {
		return time.Time{}
	}
	return p.UTC()
}
