package guest

import (
	"strings"
	"testing"
	"time"
)

const goodScripts = `{
	"pluginName": "ScriptRunner",
	"preScriptLocation": "/etc/backup/pre", "postScriptLocation": "/etc/backup/post",
	"preScriptParams": ["a", "b"], "postScriptParams": [],
	"preScriptNoOfRetries": 0, "postScriptNoOfRetries": 2,
	"timeoutInSeconds": 20, "continueBackupOnFailure": true, "fsFreezeEnabled": false}`

func TestScriptConfig(t *testing.T) {
	s, err := parseScripts([]byte(goodScripts))
	if err != nil {
		t.Fatal(err)
	}
	if s.Pre.Path != "/etc/backup/pre" || len(s.Pre.Args) != 2 || s.PreTries != 1 || s.PostTries != 3 ||
		s.Timeout != 20*time.Second || !s.ContinueOnFailure || s.Freeze {
		t.Errorf("%+v", s)
	}
	s, err = parseScripts([]byte(`{"preScriptLocation": "/p", "postScriptLocation": "/q"}`))
	if err != nil || s.Timeout != defaultTimeout || !s.Freeze || s.ContinueOnFailure {
		t.Errorf("defaults: %+v, %v", s, err)
	}
}

func TestScriptConfigRefused(t *testing.T) {
	for want, doc := range map[string]string{
		"preScriptLocation":     strings.Replace(goodScripts, "/etc/backup/pre", "pre", 1),
		"postScriptLocation":    strings.Replace(goodScripts, "/etc/backup/post", "/etc/../tmp/post", 1),
		"postScriptNoOfRetries": strings.Replace(goodScripts, `Retries": 2`, `Retries": 11`, 1),
		"preScriptNoOfRetries":  strings.Replace(goodScripts, `Retries": 0`, `Retries": -1`, 1),
		"timeoutInSeconds":      strings.Replace(goodScripts, "20", "-20", 1),
		"at most":               goodScripts + strings.Repeat(" ", maxScriptConfig),
		"invalid character":     "not json",
	} {
		if _, err := parseScripts([]byte(doc)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}

func FuzzScriptConfig(f *testing.F) {
	f.Add([]byte(goodScripts))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseScripts(raw)
		if err == nil && (s.PreTries < 1 || s.PostTries < 1 || s.Timeout <= 0 || s.Pre.Path == "" || s.Post.Path == "") {
			t.Errorf("accepted: %+v", s)
		}
	})
}
