// Package template expands ARM deployment templates: parameters, variables,
// expressions, copy loops and the order that dependsOn asks for become a list of
// resources, each with its whole request body
// (learn.microsoft.com/azure/azure-resource-manager/templates/syntax).
//
// It promises that a template is understood whole or refused: an unknown
// function, member, parameter or dependency is an Error that says where it
// stands, and nothing is guessed. Expansion is pure: the same template,
// parameters and Env give the same Plan, but for newGuid. What a template may
// cost is bounded, so that one which doubles itself is refused early.
//
// It does not know what a resource is: types, rights and bodies are for those
// who make them. Functions that ask resources which exist (reference, list…)
// and nested templates are not offered. uniqueString is stable and 13 characters
// long as Azure's is, and another one.
package template

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Limits of a template
// (learn.microsoft.com/azure/azure-resource-manager/templates/best-practices).
const (
	maxParameters = 256
	maxVariables  = 512
	maxOutputs    = 64
	maxResources  = 800
	maxCopies     = 800
	maxExpression = 24576   // characters
	maxNesting    = 64      // calls within calls
	maxCost       = 8 << 20 // bytes and members that all expressions together may make
)

// Error says what is wrong with a template and where.
type Error struct {
	At      string // such as resources[2].properties.name
	Message string
}

func (e *Error) Error() string {
	if e.At == "" {
		return e.Message
	}
	return e.At + ": " + e.Message
}

func errorf(at, format string, args ...any) *Error {
	return &Error{At: at, Message: fmt.Sprintf(format, args...)}
}

// Env is where a template is deployed.
type Env struct {
	Subscription string // GUID
	DisplayName  string // of the subscription
	Tenant       string // GUID
	Group        string // "" deploys to the subscription
	GroupTags    map[string]string
	Location     string // of the group, or of the deployment in a subscription
	Deployment   string // its name
	Endpoint     string // of the resource manager, such as https://host:8443
	Now          time.Time
}

// scope is the id of what is deployed to.
func (e Env) scope() string {
	if e.Group == "" {
		return "/subscriptions/" + e.Subscription
	}
	return "/subscriptions/" + e.Subscription + "/resourceGroups/" + e.Group
}

// Resource is one resource to be made.
type Resource struct {
	ID         string // ARM id
	Type       string // full type, such as Microsoft.Compute/disks
	Name       string // with the names of its parents: vault/policy
	APIVersion string
	Body       json.RawMessage // of the PUT that makes it
	DependsOn  []int           // of the Plan's resources; each stands before this one
}

// Value is a parameter's or an output's.
type Value struct {
	Type  string `json:"type"`
	Value any    `json:"value,omitempty"` // nothing when it is secure
}

// Plan is what a template comes to.
type Plan struct {
	Resources  []Resource // each after what it depends on
	Parameters map[string]Value
	Outputs    map[string]Value
}

// document is a template as it is written. Members that need no order are kept
// as trees of any.
type document struct {
	parameters map[string]any
	variables  map[string]any
	outputs    map[string]any
	resources  []declared
}

// declared is a resource as the template has it.
type declared struct {
	at       string
	symbol   string // languageVersion 2.0
	existing bool
	tree     map[string]any
}

// Expand makes the plan of a template. parameters has the values by name, as
// they are in properties.parameters of a deployment.
func Expand(text []byte, parameters map[string]json.RawMessage, env Env) (Plan, error) {
	doc, err := read(text)
	if err != nil {
		return Plan{}, err
	}
	x := newExpander(doc, env)
	if err := x.give(parameters); err != nil {
		return Plan{}, err
	}
	var p Plan
	if p.Parameters, err = x.allParameters(); err != nil {
		return p, err
	}
	// Each variable once, so that a mistake is found that no resource meets.
	for name := range doc.variables {
		if _, err := x.variable(name); err != nil {
			return p, err
		}
	}
	if p.Resources, err = x.resources(); err != nil {
		return p, err
	}
	p.Outputs, err = x.outputs()
	return p, err
}

// read parses a template and refuses members that would be left out.
func read(text []byte) (d document, err error) {
	tree, err := Decode(text)
	if err != nil {
		return d, err
	}
	top, ok := tree.(map[string]any)
	if !ok {
		return d, errorf("", "the template is not an object")
	}
	for name, v := range top {
		switch strings.ToLower(name) {
		case "parameters":
			d.parameters, err = section(name, v, maxParameters)
		case "variables":
			d.variables, err = section(name, v, maxVariables)
		case "outputs":
			d.outputs, err = section(name, v, maxOutputs)
		case "resources":
			d.resources, err = declarations(name, v)
		case "$schema", "contentversion", "languageversion", "apiprofile", "metadata":
		case "functions", "definitions", "imports", "extensions":
			if n := length(v); n > 0 {
				err = errorf(name, "the template has %s, which are not offered", name)
			}
		default:
			err = errorf(name, "a template has no member %q", name)
		}
		if err != nil {
			return d, err
		}
	}
	if d.resources == nil {
		return d, errorf("resources", "the template has no resources")
	}
	return d, nil
}

func section(name string, v any, most int) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errorf(name, "it is not an object")
	}
	if len(m) > most {
		return nil, errorf(name, "there are %d; at most %d are allowed", len(m), most)
	}
	return m, nil
}

// declarations reads resources: a list, or with symbolic names an object.
func declarations(at string, v any) ([]declared, error) {
	all := []declared{}
	switch v := v.(type) {
	case []any:
		for i, one := range v {
			d := declared{at: fmt.Sprintf("%s[%d]", at, i)}
			if d.tree, _ = one.(map[string]any); d.tree == nil {
				return nil, errorf(d.at, "it is not an object")
			}
			all = append(all, d)
		}
	case map[string]any:
		for _, name := range sorted(v) {
			d := declared{at: at + "." + name, symbol: name}
			if d.tree, _ = v[name].(map[string]any); d.tree == nil {
				return nil, errorf(d.at, "it is not an object")
			}
			d.existing, _ = d.tree["existing"].(bool)
			all = append(all, d)
		}
	default:
		return nil, errorf(at, "it is neither a list nor an object")
	}
	if len(all) > maxResources {
		return nil, errorf(at, "there are %d; at most %d are allowed", len(all), maxResources)
	}
	return all, nil
}
