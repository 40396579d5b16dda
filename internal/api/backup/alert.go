package backup

import "holdfast/internal/service"

// Alert is an alert on the wire.
func Alert(a service.Alert) map[string]any {
	p := map[string]any{"kind": a.Kind, "time": stampOf(a.Time), "resourceId": a.Resource, "friendlyName": a.Entity, "message": a.Message, "deliveryFailed": a.GivenUp}
	for member, value := range map[string]string{"recommendation": a.Hint, "jobId": a.Job, "deliveredTime": stampOf(a.Delivered)} {
		if value != "" {
			p[member] = value
		}
	}
	return map[string]any{"id": a.Stamp.ID, "name": a.Alert.ID, "type": service.TypeAlert, "properties": p}
}
