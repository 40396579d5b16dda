package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/alertsmanagement/armalertsmanagement"

	"holdfast"
	"holdfast/internal/authz"
	"holdfast/internal/clock"
	"holdfast/internal/embedded"
	"holdfast/internal/notify"
)

// TestAlertsOfAFailure: a failed backup reaches the webhook, which is away at
// first, also when the server is started anew meanwhile, and is listed by Azure's
// client.
func TestAlertsOfAFailure(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	away.Store(true)
	posts := make(chan string, 9)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		posts <- r.Header.Get("webhook-id")
	}))
	defer hook.Close()
	dir, channel := t.TempDir(), notify.Webhook{URL: hook.URL, Secret: []byte("0123456789abcdef"), Clock: clock.System}
	hooked := func(c *embedded.Config) { c.Channels = []notify.Channel{channel} }
	s := dial(t, serveWith(t, dir, hooked))
	lab(t, s)
	s.protect(t)
	s.world.fail = noSpace
	failed := s.job(t, s.backupNow(t))
	refused := <-posts
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	away.Store(false)
	passed := 2 * time.Minute // more than the first pause
	s = dial(t, serveWith(t, dir, func(c *embedded.Config) { hooked(c); c.Clock = func() time.Time { return clock.System().Add(passed) } }))
	if taken := <-posts; taken != refused || !strings.HasSuffix(taken, "-fired") {
		t.Errorf("first %s, after the restart %s", refused, taken)
	}

	client, err := armalertsmanagement.NewAlertsClient(s.sub, s.cred, s.options)
	if err != nil {
		t.Fatal(err)
	}
	page, err := client.NewGetAllPager(&armalertsmanagement.AlertsClientGetAllOptions{Severity: to.Ptr(armalertsmanagement.SeveritySev1), TimeRange: to.Ptr(armalertsmanagement.TimeRangeOneD)}).NextPage(t.Context())
	if err != nil || len(page.Value) != 1 {
		t.Fatalf("alerts: %+v, %v", page.Value, err)
	}
	e := page.Value[0].Properties.Essentials
	if *e.AlertRule != "JobFailed" || *e.MonitorCondition != "Fired" || *e.TargetResourceGroup != "lab" || *e.TargetResourceName != "web" || *e.Description != "Backup of web failed: The repository's disk is full." {
		t.Errorf("alert: %+v", e)
	}
	one, err := client.GetByID(t.Context(), *page.Value[0].Name, nil)
	if err != nil || one.Properties.Context.(map[string]any)["job"] != *failed.ActivityID {
		t.Errorf("one alert: %+v, %v", one, err)
	}
	s.alertsOfScopes(t)
	s.changesOfAlert(t, client, *page.Value[0].Name)
}

// changesOfAlert acknowledges and closes an alert as Azure's client does, and
// reads its history.
func (s *sdk) changesOfAlert(t *testing.T, client *armalertsmanagement.AlertsClient, name string) {
	t.Helper()
	for _, c := range []struct {
		to      armalertsmanagement.AlertState
		comment *armalertsmanagement.Comments
	}{{armalertsmanagement.AlertStateAcknowledged, &armalertsmanagement.Comments{Comments: to.Ptr("I look at it")}}, {armalertsmanagement.AlertStateAcknowledged, nil}, {armalertsmanagement.AlertStateClosed, nil}} {
		a, err := client.ChangeState(t.Context(), name, c.to, &armalertsmanagement.AlertsClientChangeStateOptions{Comment: c.comment})
		if e := a.Properties; err != nil || *e.Essentials.AlertState != c.to || *e.Essentials.LastModifiedUserName == "system" || *e.Essentials.MonitorCondition != "Fired" {
			t.Errorf("%s: %+v, %v", c.to, e, err)
		}
	}
	history, err := client.GetHistory(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range history.Properties.Modifications {
		text := string(*m.ModificationEvent)
		for _, more := range []*string{m.OldValue, m.NewValue, m.Comments} {
			if more != nil {
				text += " " + *more
			}
		}
		got = append(got, text)
	}
	if want := "AlertCreated; StateChange New Acknowledged I look at it; StateChange Acknowledged Closed; ActionsTriggered"; strings.Join(got, "; ") != want {
		t.Errorf("history: %s; want %s", strings.Join(got, "; "), want)
	}
	open, err := client.NewGetAllPager(&armalertsmanagement.AlertsClientGetAllOptions{AlertState: to.Ptr(armalertsmanagement.AlertStateNew)}).NextPage(t.Context())
	if err != nil || len(open.Value) != 0 {
		t.Errorf("new ones: %+v, %v", open.Value, err)
	}
	const at = "/providers/Microsoft.AlertsManagement/alerts/"
	s.refuses(t, []refused{
		{"unknown state", "POST", "~S" + at + name + "/changestate?newState=Done", "", 400, "InvalidParameter", "it is New, Acknowledged or Closed"},
		{"no alert", "POST", "~S" + at + "none/changestate?newState=Closed", "", 404, "ResourceNotFound", "not found"},
		{"a long comment", "POST", "~S" + at + name + "/changestate?newState=Closed", `{"comments":"` + strings.Repeat("x", 2000) + `"}`, 400, "InvalidParameter", "it takes 1000"},
		{"no comment", "POST", "~S" + at + name + "/changestate?newState=Closed", `[]`, 400, "InvalidParameter", "an object with comments"},
	})
	reader := s.member(t, authz.Reader, "/subscriptions/"+s.sub)
	if code, _ := s.as(t, reader, http.MethodPost, "/subscriptions/"+s.sub+at+name+"/changestate?api-version=2019-05-05-preview&newState=New", ""); code != http.StatusForbidden {
		t.Errorf("changed by a reader: %d", code)
	}
}

func (s *sdk) alertsOfScopes(t *testing.T) {
	t.Helper()
	const alerts = "/providers/Microsoft.AlertsManagement/alerts?api-version=2019-05-05-preview"
	for scope, want := range map[string]int{s.vaultPath(): 1, "/subscriptions/" + s.sub + "/resourceGroups/lab": 1, "/subscriptions/" + s.sub + "/resourceGroups/other": 0} {
		if code, out, _ := s.send(t, http.MethodGet, scope+alerts, ""); code != http.StatusOK || len(out["value"].([]any)) != want {
			t.Errorf("%s: %d %v, want %d", scope, code, out, want)
		}
	}
	for _, bad := range []string{"&timeRange=2h", "&pageCount=0", "&colour=red"} {
		if code, out, _ := s.send(t, http.MethodGet, "/subscriptions/"+s.sub+alerts+bad, ""); code != http.StatusBadRequest {
			t.Errorf("%s: %d %v", bad, code, out)
		}
	}
	reader := s.member(t, authz.BackupReader, "/subscriptions/"+s.sub)
	if code, _ := s.as(t, reader, http.MethodPost, "/subscriptions/"+s.sub+"/providers/Holdfast.Monitor/testAlert?api-version=2026-11-01", ""); code != http.StatusForbidden {
		t.Errorf("a test alert by a reader: %d", code)
	}
}

// ending is a channel that says what the test wants.
type ending struct {
	name string
	fail error
}

func (s ending) Name() string                                             { return s.name }
func (s ending) Send(context.Context, holdfast.Alert, notify.State) error { return s.fail }

// TestTestAlert says for each channel whether it took the alert.
func TestTestAlert(t *testing.T) {
	t.Parallel()
	const path = "/providers/Holdfast.Monitor/testAlert?api-version=2026-11-01"
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) {
		c.Channels = []notify.Channel{ending{"mail", errors.New("no such mailbox")}, ending{"webhook", nil}}
	}))
	code, out, _ := s.send(t, http.MethodPost, "/subscriptions/"+s.sub+path, "")
	if text := fmt.Sprint(out); code != http.StatusOK || !strings.Contains(text, "error:no such mailbox") || strings.Count(text, "taken:true") != 1 {
		t.Errorf("%d %v", code, out)
	}
	s = dial(t, serve(t, newWorld(), t.TempDir()))
	if code, out, _ := s.send(t, http.MethodPost, "/subscriptions/"+s.sub+path, ""); code != http.StatusConflict || !strings.Contains(fmt.Sprint(out), "--alert-webhook") {
		t.Errorf("without channels: %d %v", code, out)
	}
}
