package service

import (
	"encoding/json"
	"strings"
	"testing"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSettings(t *testing.T) {
	t.Parallel()
	v := Vault{Settings: object(t, `{"redundancySettings":{"standardTierStorageRedundancy":"GeoRedundant"},"newer":{"member":1}}`)}
	if v.Setting("redundancySettings", "standardTierStorageRedundancy") != "GeoRedundant" || v.Setting("redundancySettings", "crossRegionRestore") != "Disabled" ||
		v.SoftDeleteDays() != 14 || v.Setting("no", "such") != "" {
		t.Errorf("settings: %v", v.AllSettings())
	}
	for text, want := range map[string]string{
		`{"publicNetworkAccess":"Enabled","newer":{"x":1}}`: "", `{"publicNetworkAccess":true}`: "publicNetworkAccess", `{"publicNetworkAccess":"enabled"}`: "publicNetworkAccess",
		`{"securitySettings":{"softDeleteSettings":{"softDeleteRetentionPeriodInDays":13}}}`: "14 to 180", `{"securitySettings":{"softDeleteSettings":{"softDeleteRetentionPeriodInDays":14.5}}}`: "14 to 180",
		`{"securitySettings":"none"}`: "",
	} {
		err := checkSettings(object(t, text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	s := &Service{Deps: Deps{DataDir: "/data"}}
	for in, want := range map[string]string{
		"": "file:///data/vaults/guid", "/backup/a b/../c": "file:///backup/c", "/a b": "file:///a%20b", "s3://bucket/prefix": "s3://bucket/prefix",
		"relative": "", "s3://key:secret@bucket": "", "%zz": "",
	} {
		ref, err := s.place(VaultInput{RepositoryURL: in}, "guid")
		if want == "" && err == nil || want != "" && (err != nil || ref.URL != want || ref.KeyID != "guid") {
			t.Errorf("%q: %+v, %v; want %q", in, ref, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows a secret: %v", in, err)
		}
	}
}
