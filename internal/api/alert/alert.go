// Package alert is the wire form of alerts: Microsoft.AlertsManagement/alerts of
// Azure Monitor. What each channel did with an alert is in its context.
package alert

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	sdk "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/alertsmanagement/armalertsmanagement"

	"holdfast"
	"holdfast/internal/arm"
	"holdfast/internal/service"
)

// Type is the resource type of an alert.
const Type = "Microsoft.AlertsManagement/alerts"

// Alert is an alert on the wire; deliveries are told with one that is shown.
func Alert(a service.Alert, deliveries []service.Delivery) *sdk.Alert {
	condition, changed := sdk.MonitorConditionFired, a.Time
	if !a.Resolved.IsZero() {
		condition, changed = sdk.MonitorConditionResolved, a.Resolved
	}
	e := &sdk.Essentials{
		AlertRule: to.Ptr(string(a.Kind)), AlertState: to.Ptr(sdk.AlertStateNew), Description: to.Ptr(a.Message), Severity: to.Ptr(sdk.Severity(a.Severity())),
		MonitorCondition: &condition, MonitorService: to.Ptr(sdk.MonitorService(holdfast.AlertService)), SignalType: to.Ptr(sdk.SignalTypeLog), SourceCreatedID: &a.ID,
		StartDateTime: &a.Time, LastModifiedDateTime: &changed, LastModifiedUserName: to.Ptr("system"), TargetResource: &a.Resource, TargetResourceName: &a.Entity,
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
