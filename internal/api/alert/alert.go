// Package alert is the wire form of alerts: Microsoft.AlertsManagement/alerts of
// Azure Monitor. What each channel did with an alert is in its context.
package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/alertsmanagement/armalertsmanagement"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/service"
)

// Type is the resource type of an alert.
const Type = "Microsoft.AlertsManagement/alerts"

// system is who changes what no person does.
const system = "system"

// DecodeComment reads the body of a change of state: nothing, or a comment.
func DecodeComment(body []byte) (string, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "", nil
	}
	var c struct {
		Comments string `json:"comments"`
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return "", holdfast.Errorf(holdfast.Invalid, "comments", "The body must be an object with comments, a text.")
	}
	return c.Comments, nil
}

// History is what became of an alert, oldest first, as far as each step's time is known.
func History(a holdfast.Alert, deliveries []service.Delivery) *sdk.AlertModification {
	var all []*sdk.AlertModificationItem
	add := func(at time.Time, by string, event sdk.AlertModificationEvent, from, to, comment, description string) {
		item := &sdk.AlertModificationItem{ModificationEvent: &event, ModifiedAt: pointer(stamp(at)), ModifiedBy: &by, OldValue: pointer(from), NewValue: pointer(to), Comments: pointer(comment), Description: pointer(description)}
		all = append(all, item)
	}
	add(a.Time, system, sdk.AlertModificationEventAlertCreated, "", "", "", a.Message)
	for _, c := range a.Changes {
		add(c.Time, c.By, sdk.AlertModificationEventStateChange, string(c.From), string(c.To), c.Comment, "")
	}
	if !a.Resolved.IsZero() {
		add(a.Resolved, system, sdk.AlertModificationEventMonitorConditionChange, string(sdk.MonitorConditionFired), string(sdk.MonitorConditionResolved), "", "")
	}
	slices.SortStableFunc(all, func(x, y *sdk.AlertModificationItem) int { return strings.Compare(*x.ModifiedAt, *y.ModifiedAt) })
	for _, d := range deliveries {
		event, text := sdk.AlertModificationEventActionsTriggered, fmt.Sprintf("%s, %s: %d tries", d.Channel, d.State, d.Tries)
		if d.Error != "" {
			event, text = sdk.AlertModificationEventActionsFailed, text+": "+d.Error
		}
		all = append(all, &sdk.AlertModificationItem{ModificationEvent: &event, ModifiedBy: pointer(system), Description: &text})
	}
	return &sdk.AlertModification{ID: to.Ptr(a.ARMID() + "/history/default"), Name: to.Ptr("default"), Type: to.Ptr(Type + "/history"),
		Properties: &sdk.AlertModificationProperties{AlertID: &a.ID, Modifications: all}}
}

// stamp is a time that sorts as a text.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// pointer is nil for what is empty.
func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Alert is an alert on the wire; deliveries are told with one that is shown.
func Alert(a holdfast.Alert, deliveries []service.Delivery) *sdk.Alert {
	condition, changed, by := sdk.MonitorConditionFired, a.Time, system
	if !a.Resolved.IsZero() {
		condition, changed = sdk.MonitorConditionResolved, a.Resolved
	}
	if n := len(a.Changes); n > 0 && a.Changes[n-1].Time.After(changed) {
		changed, by = a.Changes[n-1].Time, a.Changes[n-1].By
	}
	e := &sdk.Essentials{
		AlertRule: to.Ptr(string(a.Kind)), AlertState: to.Ptr(sdk.AlertState(a.State())), Description: to.Ptr(a.Message), Severity: to.Ptr(sdk.Severity(a.Severity())),
		MonitorCondition: &condition, MonitorService: to.Ptr(sdk.MonitorService(holdfast.AlertService)), SignalType: to.Ptr(sdk.SignalTypeLog), SourceCreatedID: &a.ID,
		StartDateTime: &a.Time, LastModifiedDateTime: &changed, LastModifiedUserName: &by, TargetResource: &a.Resource, TargetResourceName: &a.Entity,
	}
	if !a.Resolved.IsZero() {
		e.MonitorConditionResolvedDateTime = &a.Resolved
	}
	if id, err := arm.ParseID(a.Resource); err == nil {
		e.TargetResourceGroup, e.TargetResourceType = to.Ptr(id.Group), to.Ptr(id.Type())
	}
	context := map[string]any{"hint": a.Hint, "job": a.Job}
	if deliveries != nil {
		context["deliveries"] = deliveries
	}
	return &sdk.Alert{ID: to.Ptr(a.ARMID()), Name: &a.ID, Type: to.Ptr(Type), Properties: &sdk.AlertProperties{Essentials: e, Context: context}}
}
