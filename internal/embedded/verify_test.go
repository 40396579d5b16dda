package embedded_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/embedded"
	"holdfast/internal/job"
)

const verifyBody = `{"properties":{"objectType":"IaasVMRestoreRequest","recoveryType":"Verify","holdfast":{"check":["/bin/true"],"patience":"3m"}}}`

// TestVerify: a policy has each new point looked at, once; what was seen is on the
// point, the picture in the job, and an alert tells of one that is not proved,
// until one is.
func TestVerify(t *testing.T) {
	t.Parallel()
	asked := make(chan holdfast.VerifyArgs, 9)
	failure := "The check ended with 1."
	w, ticks := newWorld(), make(chan time.Time)
	w.ticks = ticks
	s := dial(t, serveWith(t, t.TempDir(), func(c *embedded.Config) {
		c.Inventory, c.Provisioner, c.Backup, c.Restore, c.Machines, c.Machine, c.Ticks = w, w, w.backup(), w.restore(), w, w.machine(), ticks
		c.Verify = job.Func[holdfast.VerifyArgs, holdfast.VerifyResult](func(_ context.Context, a holdfast.VerifyArgs, _ holdfast.Progress) (holdfast.VerifyResult, error) {
			asked <- a
			return holdfast.VerifyResult{PointID: a.Restore.PointID, Time: time.Now(), Failure: failure, Answered: 20 * time.Second, Screen: []byte("picture")}, nil
		})
	}))
	lab(t, s)
	s.protect(t)
	_, out, _ := s.send(t, "GET", s.vaultPath()+"/backupPolicies/DefaultPolicy?api-version=2025-02-01", "")
	policy := string(holdfast.Marshal(out))
	policy = strings.Replace(policy, `"backupManagementType"`, `"holdfast":{"verifyPoints":true},"backupManagementType"`, 1)
	if code, out, _ := s.send(t, "PUT", s.vaultPath()+"/backupPolicies/DefaultPolicy?api-version=2025-02-01", policy); code != http.StatusOK {
		t.Fatalf("policy: %d %v", code, out)
	}
	s.job(t, s.backupNow(t))
	ticks <- time.Now()
	a := <-asked
	if !a.Restore.Isolated || !a.Restore.Start || a.Restore.Mode != holdfast.CreateVM || len(a.Check) != 0 || !strings.Contains(a.Restore.Directory, "verify-") {
		t.Errorf("args: %+v", a)
	}
	s.seen(t, "not proved. The check ended with 1.", 1)
	failure = ""
	ticks <- time.Now() // that point was looked at
	ticks <- time.Now() // the tick before has ended
	code, out, h := s.send(t, "POST", strings.ReplaceAll(s.itemPath(), ";", "%3B")+"/recoveryPoints/"+*s.points(t)[0].Name+"/restore?api-version=2025-02-01", verifyBody)
	if code != http.StatusAccepted || h.Get("Location") == "" {
		t.Fatalf("asked: %d %v", code, out)
	}
	if a = <-asked; a.Patience != 3*time.Minute || len(a.Check) != 1 {
		t.Errorf("args: %+v", a)
	}
	s.seen(t, "the guest answered after 20s", 0)
	if len(asked) > 0 {
		t.Errorf("looked at again: %+v", <-asked)
	}
}

// seen waits until the newest point says so, and counts the open alerts.
func (s *sdk) seen(t *testing.T, says string, alerts int) {
	t.Helper()
	path := strings.ReplaceAll(s.itemPath(), ";", "%3B") + "/recoveryPoints/" + *s.points(t)[0].Name + "?api-version=2025-02-01"
	for deadline := time.Now().Add(time.Minute); ; {
		_, out, _ := s.send(t, "GET", path, "")
		if strings.Contains(fmt.Sprint(out), says) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the point says %v, want %q", out, says)
		}
	}
	_, out, _ := s.send(t, "GET", "/subscriptions/"+s.sub+"/providers/Microsoft.AlertsManagement/alerts?api-version=2019-05-05-preview&monitorCondition=Fired", "")
	if n := strings.Count(fmt.Sprint(out), "PointNotProved"); n != alerts {
		t.Errorf("%d alerts: %v", n, out)
	}
	_, out, _ = s.send(t, "GET", s.vaultPath()+"/backupJobs?api-version=2025-02-01&$filter=operation%20eq%20'Verify'", "")
	job := out["value"].([]any)[0].(map[string]any)["name"].(string)
	if _, out, _ := s.send(t, "GET", s.vaultPath()+"/backupJobs/"+job+"/console?api-version=2025-02-01", ""); out["data"] != base64.StdEncoding.EncodeToString([]byte("picture")) {
		t.Errorf("console: %v", out)
	}
}

// TestVerifyIsRefused: a verification has no target, and bounds.
func TestVerifyIsRefused(t *testing.T) {
	t.Parallel()
	s := dial(t, serve(t, newWorld(), t.TempDir()))
	lab(t, s)
	s.protect(t)
	s.job(t, s.backupNow(t))
	path := strings.ReplaceAll(s.itemPath(), ";", "%3B") + "/recoveryPoints/" + *s.points(t)[0].Name + "/restore?api-version=2025-02-01"
	for body, says := range map[string]string{
		verifyBody: "verifies no points", // this server
		strings.Replace(verifyBody, `"3m"`, `"soon"`, 1):     "patience",
		strings.Replace(verifyBody, `"3m"`, `"-3m"`, 1):      "patience",
		strings.Replace(verifyBody, `["/bin/true"]`, `7`, 1): "check",
	} {
		if code, out, _ := s.send(t, "POST", path, body); code < 400 || code > 499 || !strings.Contains(fmt.Sprint(out), says) {
			t.Errorf("%s: %d %v, want %q", body, code, out, says)
		}
	}
}
