package template

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
)

// placeFunctions are about where the template is deployed, and about itself.
var placeFunctions = map[string]function{
	"parameters":             {1, 1, named((*expander).parameter)},
	"variables":              {1, 1, named((*expander).variable)},
	"resourceid":             {2, many, resourceID},
	"subscriptionresourceid": {2, many, subscriptionResourceID},
	"extensionresourceid":    {3, many, extensionResourceID},
	"tenantresourceid":       {2, many, func(_ *expander, a []any) (any, error) { return idOf("", a) }},
	"resourcegroup":          {0, 0, group},
	"subscription":           {0, 0, subscription},
	"tenant":                 {0, 0, func(x *expander, _ []any) (any, error) { return map[string]any{"tenantId": x.env.Tenant}, nil }},
	"deployment":             {0, 0, deployment},
	"environment":            {0, 0, environment},
}

// named is a function of one name.
func named(find func(*expander, string) (any, error)) func(*expander, []any) (any, error) {
	return func(x *expander, a []any) (any, error) {
		name, err := text(a[0])
		if err != nil {
			return nil, err
		}
		return find(x, name)
	}
}

func group(x *expander, _ []any) (any, error) {
	if x.env.Group == "" {
		return nil, fmt.Errorf("the template is deployed to the subscription, not to a resource group")
	}
	tags := map[string]any{}
	for name, v := range x.env.GroupTags {
		tags[name] = v
	}
	return map[string]any{"id": x.env.scope(), "name": x.env.Group, "type": "Microsoft.Resources/resourceGroups", "location": x.env.Location,
		"tags": tags, "properties": map[string]any{"provisioningState": "Succeeded"}}, nil
}

func subscription(x *expander, _ []any) (any, error) {
	return map[string]any{"id": "/subscriptions/" + x.env.Subscription, "subscriptionId": x.env.Subscription, "tenantId": x.env.Tenant,
		"displayName": x.env.DisplayName}, nil
}

func deployment(x *expander, _ []any) (any, error) {
	out := map[string]any{"name": x.env.Deployment, "properties": map[string]any{"mode": "Incremental", "provisioningState": "Accepted",
		"templateLink": map[string]any{"uri": ""}}}
	if x.env.Group == "" {
		out["location"] = x.env.Location
	}
	return out, nil
}

func environment(x *expander, _ []any) (any, error) {
	base := x.env.Endpoint
	return map[string]any{"name": "Holdfast", "resourceManager": base, "portal": base, "gallery": base, "graph": base, "graphAudience": base,
		"authentication": map[string]any{"loginEndpoint": base + "/adfs", "audiences": []any{base}, "tenant": x.env.Tenant, "identityProvider": "ADFS"},
		"suffixes":       map[string]any{}}, nil
}

// resourceID is the id of a resource by its type and names, in the deployment's
// scope, in another group, or in a group of another subscription.
func resourceID(x *expander, a []any) (any, error) {
	words, err := texts(a)
	if err != nil {
		return nil, err
	}
	at := 0 // of the type: the first that has a slash
	for at < len(words) && !strings.Contains(words[at], "/") {
		at++
	}
	scope := x.env.scope()
	switch {
	case at == 1 && x.env.Group == "": // of a subscription
		scope = "/subscriptions/" + words[0]
	case at == 1:
		scope = "/subscriptions/" + x.env.Subscription + "/resourceGroups/" + words[0]
	case at == 2:
		scope = "/subscriptions/" + words[0] + "/resourceGroups/" + words[1]
	case at > 2:
		return nil, fmt.Errorf("it takes a type such as Microsoft.Compute/disks and names; before it a group, or a subscription and a group")
	}
	return idOf(scope, a[at:])
}

func subscriptionResourceID(x *expander, a []any) (any, error) {
	first, err := text(a[0])
	if err != nil {
		return nil, err
	}
	if strings.Contains(first, "/") {
		return idOf("/subscriptions/"+x.env.Subscription, a)
	}
	return idOf("/subscriptions/"+first, a[1:])
}

func extensionResourceID(_ *expander, a []any) (any, error) {
	scope, err := text(a[0])
	if err != nil {
		return nil, err
	}
	return idOf(strings.TrimSuffix(scope, "/"), a[1:])
}

// idOf joins a scope, a type and as many names as the type has segments.
func idOf(scope string, a []any) (any, error) {
	words, err := texts(a)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("the type is missing")
	}
	id, ok := joinID(scope, words[0], words[1:])
	if !ok {
		return nil, fmt.Errorf("the type %q and %d names do not make an id", words[0], len(words)-1)
	}
	return id, nil
}

// joinID is the id of a resource of a type at a scope.
func joinID(scope, typ string, names []string) (string, bool) {
	parts := strings.Split(typ, "/")
	if len(parts) < 2 || len(names) != len(parts)-1 {
		return "", false
	}
	var b strings.Builder
	b.WriteString(scope + "/providers/" + parts[0])
	for i, name := range names {
		if parts[i+1] == "" || name == "" || strings.Contains(name, "/") {
			return "", false
		}
		b.WriteString("/" + parts[i+1] + "/" + name)
	}
	return b.String(), parts[0] != ""
}

// newValue is what newGuid and utcNow give.
func newValue(x *expander, name string, a []any) (any, error) {
	if name == "newguid" {
		if len(a) > 0 {
			return nil, fmt.Errorf("newGuid takes 0 arguments, not %d", len(a))
		}
		return uuid.NewString(), nil
	}
	forms := map[string]string{"": "20060102T150405Z", "d": "01/02/2006", "u": "2006-01-02 15:04:05Z", "yyyy-MM-dd": "2006-01-02", "yyyyMMdd": "20060102",
		"yyyyMMddHHmmss": "20060102150405", "yyyyMMddTHHmmssZ": "20060102T150405Z", "yyyy-MM-ddTHH:mm:ssZ": time.RFC3339}
	form := ""
	if len(a) > 0 {
		var err error
		if form, err = text(a[0]); err != nil || len(a) > 1 {
			return nil, fmt.Errorf("utcNow takes a form or nothing")
		}
	}
	layout, ok := forms[form]
	if !ok {
		return nil, fmt.Errorf("utcNow knows no form %q; it knows %s", form, strings.Join(sorted(maps.Clone(forms)), ", "))
	}
	return x.env.Now.UTC().Format(layout), nil
}
