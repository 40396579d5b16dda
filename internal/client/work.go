package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	backup "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/recoveryservices/armrecoveryservicesbackup/v4"
)

// pollerFrequency is how often an SDK poller looks where the server says
// nothing about it. The SDK takes no less than a second.
const pollerFrequency = time.Second

// Work is work that the server has accepted: an operation, and usually the job
// that it became. Job is empty where there is none (nothing was to do).
type Work struct {
	Vault VaultRef
	Job   string
}

// acceptLimit is how long an accepted request may take to become a job.
const acceptLimit = 30 * time.Second

// start runs call, which starts work, and waits until the server says which job
// does it. It is sent once. A caller whose context ends after the server has
// accepted is given the job all the same, so that it can say how to follow it.
func (c *Client) start(ctx context.Context, v VaultRef, call func(ctx context.Context) error) (Work, error) {
	resp, err := c.answer(onceOnly(ctx), call)
	if e, ok := err.(*Error); ok && (e.Reason == Interrupted || e.Reason == Unreachable && e.Status == 0) {
		e.Hint = strings.TrimSpace(e.Hint + " The server may have accepted it: see holdfast job list.")
	}
	if err != nil || resp.StatusCode != http.StatusAccepted {
		return Work{Vault: v}, err
	}
	accepted, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptLimit)
	defer cancel()
	status, err := c.operation(accepted, resp)
	if err != nil {
		return Work{Vault: v}, err
	}
	job, _ := status.Properties.(*backup.OperationStatusJobExtendedInfo)
	if job == nil {
		return Work{Vault: v}, nil
	}
	return Work{Vault: v, Job: value(job.JobID)}, nil
}

// operation follows the operation that an accepting answer names to its end
// (contract, section 5, "Tracking").
func (c *Client) operation(ctx context.Context, accepted *http.Response) (backup.OperationStatus, error) {
	url := accepted.Header.Get("Azure-AsyncOperation")
	if !strings.HasPrefix(url, "https://") {
		return backup.OperationStatus{}, &Error{Reason: Internal, Code: "UnexpectedAnswer",
			Message: "The server accepted the request and did not say which operation it is."}
	}
	for pause := c.poll / 10; ; pause = min(2*pause, c.poll) {
		resp, err := c.send(ctx, http.MethodGet, url, nil, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return backup.OperationStatus{}, err
		}
		var status backup.OperationStatus
		if err := runtime.UnmarshalAsJSON(resp, &status); err != nil {
			return status, c.translate(ctx, err)
		}
		switch value(status.Status) {
		case backup.OperationStatusValuesSucceeded:
			return status, nil
		case backup.OperationStatusValuesFailed, backup.OperationStatusValuesCanceled:
			return status, operationError(resp)
		}
		if err := sleep(ctx, pause); err != nil {
			return status, c.translate(ctx, err)
		}
	}
}

func operationError(resp *http.Response) error {
	e := &Error{Reason: Failed, Code: "OperationFailed", Message: "The operation failed."}
	var body struct {
		Error errorBody `json:"error"`
	}
	if b, err := runtime.Payload(resp); err == nil && json.Unmarshal(b, &body) == nil && body.Error.Message != "" {
		e.fill(body.Error)
	}
	return e
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
