package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var lab = Env{Subscription: "S", DisplayName: "Sub", Tenant: "T", Group: "lab", GroupTags: map[string]string{"a": "b"}, Location: "site1", Deployment: "d",
	Endpoint: "https://h:1", Now: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)}

// value evaluates one expression in a template with a few parameters.
func value(t *testing.T, expression string) (any, error) {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"parameters": map[string]any{"p": map[string]any{"type": "string", "defaultValue": "web"}, "n": map[string]any{"type": "int", "defaultValue": 3}},
		"variables":  map[string]any{"o": map[string]any{"Size": 7, "list": []any{"x", "y"}}, "v": expression},
		"resources":  []any{}, "outputs": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := read(text)
	if err != nil {
		return nil, err
	}
	return newExpander(doc, lab).variable("v")
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"plain":                         `"plain"`,
		"[[not one]":                    `"[not one]"`,
		"[open":                         `"[open"`,
		"['it''s']":                     `"it's"`,
		"[parameters('P')]":             `"web"`,
		"[ variables( 'o' ).size ]":     `7`,
		"[variables('o')['list'][1]]":   `"y"`,
		"[concat('a', 1, true(), 'b')]": `"a1Trueb"`,
		"[concat(createArray(1), createArray(2, 'c'))]":                                       `[1,2,"c"]`,
		"[resourceId('Microsoft.Compute/disks', 'd')]":                                        `"/subscriptions/S/resourceGroups/lab/providers/Microsoft.Compute/disks/d"`,
		"[resourceId('other', 'Microsoft.RecoveryServices/vaults/backupPolicies', 'v', 'p')]": `"/subscriptions/S/resourceGroups/other/providers/Microsoft.RecoveryServices/vaults/v/backupPolicies/p"`,
		"[resourceId('S2', 'other', 'Microsoft.Compute/disks', 'd')]":                         `"/subscriptions/S2/resourceGroups/other/providers/Microsoft.Compute/disks/d"`,
		"[subscriptionResourceId('Holdfast.Site/sites', 's')]":                                `"/subscriptions/S/providers/Holdfast.Site/sites/s"`,
		"[extensionResourceId(resourceGroup().id, 'Microsoft.Authorization/locks', 'l')]":     `"/subscriptions/S/resourceGroups/lab/providers/Microsoft.Authorization/locks/l"`,
		"[resourceGroup().location]":                                                          `"site1"`,
		"[resourceGroup().tags.a]":                                                            `"b"`,
		"[subscription().subscriptionId]":                                                     `"S"`,
		"[deployment().name]":                                                                 `"d"`,
		"[environment().resourceManager]":                                                     `"https://h:1"`,
		"[tenant().tenantId]":                                                                 `"T"`,
		"[toLower('ABC')]":                                                                    `"abc"`,
		"[toUpper('abc')]":                                                                    `"ABC"`,
		"[trim('  a ')]":                                                                      `"a"`,
		"[format('{0}-{1:D3}-{{}}', 'a', 7)]":                                                 `"a-007-{}"`,
		"[substring('hello', 1, 3)]":                                                          `"ell"`,
		"[substring('hello', 3)]":                                                             `"lo"`,
		"[replace('a-b-c', '-', '+')]":                                                        `"a+b+c"`,
		"[split('a,b;c', createArray(',', ';'))]":                                             `["a","b","c"]`,
		"[join(createArray('a', 'b'), '/')]":                                                  `"a/b"`,
		"[padLeft('7', 3, '0')]":                                                              `"007"`,
		"[startsWith('Web', 'w')]":                                                            `true`,
		"[endsWith('Web', 'B')]":                                                              `true`,
		"[indexOf('abcabc', 'C')]":                                                            `2`,
		"[lastIndexOf('abcabc', 'c')]":                                                        `5`,
		"[indexOf(createArray('a', 'b'), 'b')]":                                               `1`,
		"[contains('abc', 'b')]":                                                              `true`,
		"[contains(variables('o'), 'SIZE')]":                                                  `true`,
		"[contains(createArray(1, 2), 3)]":                                                    `false`,
		"[length('abc')]":                                                                     `3`,
		"[length(variables('o'))]":                                                            `2`,
		"[empty('')]":                                                                         `true`,
		"[empty(createArray(1))]":                                                             `false`,
		"[first('abc')]":                                                                      `"a"`,
		"[last(createArray(1, 2))]":                                                           `2`,
		"[take('abc', 2)]":                                                                    `"ab"`,
		"[skip(createArray(1, 2, 3), 1)]":                                                     `[2,3]`,
		"[range(2, 3)]":                                                                       `[2,3,4]`,
		"[min(3, 1, 2)]":                                                                      `1`,
		"[max(createArray(3, 9))]":                                                            `9`,
		"[union(createArray(1, 2), createArray(2, 3))]":                                       `[1,2,3]`,
		`[union(json('{"a":{"x":1}}'), json('{"a":{"y":2}}'))]`:                               `{"a":{"x":1,"y":2}}`,
		"[intersection(createArray(1, 2, 3), createArray(3, 2))]":                             `[2,3]`,
		"[flatten(createArray(createArray(1), createArray(2, 3)))]":                           `[1,2,3]`,
		"[items(createObject('k', 1))]":                                                       `[{"key":"k","value":1}]`,
		"[objectKeys(createObject('k', 1))]":                                                  `["k"]`,
		"[tryGet(variables('o'), 'list', 5)]":                                                 `null`,
		"[tryGet(variables('o'), 'list', 0)]":                                                 `"x"`,
		"[coalesce(null(), 'x')]":                                                             `"x"`,
		"[if(true(), 'a', variables('none'))]":                                                `"a"`,
		"[and(true(), not(false()))]":                                                         `true`,
		"[or(false(), equals(1, 1))]":                                                         `true`,
		"[equals(createArray(1), createArray(1))]":                                            `true`,
		"[equals('a', 'A')]":                                                                  `false`,
		"[less('a', 'b')]":                                                                    `true`,
		"[greaterOrEquals(2, 2)]":                                                             `true`,
		"[add(mul(2, parameters('n')), sub(5, 1))]":                                           `10`,
		"[mod(7, 4)]":                                                                         `3`,
		"[div(7, 2)]":                                                                         `3`,
		"[int('12')]":                                                                         `12`,
		"[bool('TRUE')]":                                                                      `true`,
		"[string(createArray(1))]":                                                            `"[1]"`,
		"[base64('one, two')]":                                                                `"b25lLCB0d28="`,
		"[base64ToString('b25lLCB0d28=')]":                                                    `"one, two"`,
		"[uriComponent('a b/c')]":                                                             `"a%20b%2Fc"`,
		"[uriComponentToString('a%20b')]":                                                     `"a b"`,
		"[uri('https://x/y/', 'z')]":                                                          `"https://x/y/z"`,
		"[length(uniqueString(resourceGroup().id))]":                                          `13`,
		"[substring(guid('a', 'b'), 14, 1)]":                                                  `"5"`, // a version 5 UUID
		"[variables('o').list[sub(1, 1)]]":                                                    `"x"`,
	} {
		got, err := value(t, expression)
		b, _ := json.Marshal(got)
		if err != nil || string(b) != want {
			t.Errorf("%s = %s, %v; want %s", expression, b, err, want)
		}
	}
}

func TestWrongExpressions(t *testing.T) {
	t.Parallel()
	for expression, says := range map[string]string{
		"[nothing('x')]":                          "there is no function nothing",
		"[reference('x')]":                        "not offered",
		"[listKeys('x', '2020-01-01')]":           "not offered",
		"[newGuid()]":                             "default value only",
		"[concat('a'":                             "", // no expression: a string that begins with [
		"[concat('a')x]":                          `has 'x' at character 13`,
		"[concat('a',)]":                          "a value is expected",
		"['a]":                                    "the end of the string",
		"[parameters('q')]":                       `no parameter "q"`,
		"[variables('v')]":                        "needs itself",
		"[variables('o').none]":                   `has no "none"`,
		"[createArray(1)[1]]":                     "has no 1",
		"[substring('abc', 2, 5)]":                "does not lie within",
		"[toLower(1)]":                            "is no string",
		"[if('x', 1, 2)]":                         "neither true nor false",
		"[div(1, 0)]":                             "no whole number",
		"[add(9223372036854775807, 1)]":           "no whole number",
		"[int('1x')]":                             "not a whole number",
		"[format('{1}', 'a')]":                    "names none",
		"[resourceId('Microsoft.Compute/disks')]": "takes at least 2",
		"[resourceId('Microsoft.Compute/disks', 'a', 'b')]": "do not make an id",
		"[copyIndex()]":            "in no loop",
		"[toLower('a', 'b')]":      "takes 1 argument, not 2",
		"[padLeft('a', 99999999)]": "width",
		"[range(0, 99999999)]":     "count",
		"[length(1)]":              "has no length",
		"[json('{')]":              "is not JSON",
		"[" + strings.Repeat("concat(", 100) + "'a'" + strings.Repeat(")", 100) + "]": "nested",
	} {
		if _, err := value(t, expression); says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v; want %q", expression, err, says)
		}
	}
}

// expanded expands a template that must be right, and gives the ids and bodies.
func expanded(t *testing.T, text string, parameters string) Plan {
	t.Helper()
	p, err := expand(t, text, parameters, lab)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func expand(t *testing.T, text, parameters string, env Env) (Plan, error) {
	t.Helper()
	var given map[string]json.RawMessage
	if parameters != "" {
		if err := json.Unmarshal([]byte(parameters), &given); err != nil {
			t.Fatal(err)
		}
	}
	return Expand([]byte(text), given, env)
}

func lines(p Plan) string {
	var b strings.Builder
	for _, r := range p.Resources {
		fmt.Fprintf(&b, "%s %s %v\n", strings.TrimPrefix(r.ID, lab.scope()+"/providers/"), r.Body, r.DependsOn)
	}
	return b.String()
}

// TestTemplate is a template as the restore of disks makes it: comments, a loop
// of disks, order, conditions, children, an extension.
func TestTemplate(t *testing.T) {
	t.Parallel()
	p := expanded(t, `{
	// disks first
	"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
	contentVersion: "1.0.0.0",
	"parameters": {
		"VirtualMachineName": {"type": "string", "maxLength": 15, "metadata": {"description": "its
name"}},
		"secret": {"type": "secureString", "defaultValue": "[concat('x', newGuid())]"},
		"count": {"type": "int", "allowedValues": [1, 2]}, /* how many */
	},
	"variables": {
		"vm": "[toLower(parameters('virtualmachinename'))]",
		"copy": [{"name": "luns", "count": "[parameters('count')]", "input": "[copyIndex('luns', 10)]"}],
	},
	"resources": [
		{
			"type": "Microsoft.Compute/virtualMachines", "apiVersion": "2022-08-01", "name": "[variables('vm')]", "location": "[resourceGroup().location]",
			"dependsOn": ["disks", "[resourceId('Microsoft.RecoveryServices/vaults', 'v')]"],
			"properties": {"storageProfile": {"copy": [{"name": "dataDisks", "count": "[length(variables('luns'))]", "input": {
				"lun": "[variables('luns')[copyIndex('dataDisks')]]", "managedDisk": {"id": "[resourceId('Microsoft.Compute/disks', format('d{0}', copyIndex('dataDisks')))]"}}}]}},
		},
		{"type": "Microsoft.Compute/disks", "apiVersion": "2022-07-02", "name": "[concat('d', copyIndex())]", "copy": {"name": "disks", "count": "[parameters('count')]"}, "tags": {"[variables('vm')]": "1"}},
		{"type": "Microsoft.Compute/disks", "apiVersion": "2022-07-02", "name": "never", "condition": false},
		{"type": "Microsoft.RecoveryServices/vaults", "apiVersion": "2023-04-01", "name": "v", "resources": [
			{"type": "backupPolicies", "apiVersion": "2023-04-01", "name": "p", "properties": {}}]},
		{"type": "Microsoft.RecoveryServices/vaults/providers/locks", "apiVersion": "2016-09-01", "name": "v/Microsoft.Authorization/keep", "properties": {"level": "ReadOnly"}},
		{"type": "Microsoft.Authorization/locks", "apiVersion": "2016-09-01", "name": "too", "scope": "Microsoft.RecoveryServices/vaults/v", "dependsOn": ["never"]},
	],
	"outputs": {"vm": {"type": "string", "value": "[resourceId('Microsoft.Compute/virtualMachines', variables('vm'))]"}, "none": {"condition": false, "type": "int", "value": 1}}
	}`, `{"virtualMachineName": {"value": "WEB"}, "count": {"value": 2}}`)
	const want = `Microsoft.RecoveryServices/vaults/v {} []
Microsoft.Compute/disks/d0 {"tags":{"web":"1"}} []
Microsoft.Compute/disks/d1 {"tags":{"web":"1"}} []
Microsoft.Compute/virtualMachines/web {"location":"site1","properties":{"storageProfile":{"dataDisks":[{"lun":10,"managedDisk":{"id":"/subscriptions/S/resourceGroups/lab/providers/Microsoft.Compute/disks/d0"}},{"lun":11,"managedDisk":{"id":"/subscriptions/S/resourceGroups/lab/providers/Microsoft.Compute/disks/d1"}}]}}} [0 1 2]
Microsoft.RecoveryServices/vaults/v/backupPolicies/p {"properties":{}} [0]
Microsoft.RecoveryServices/vaults/v/providers/Microsoft.Authorization/locks/keep {"properties":{"level":"ReadOnly"}} [0]
Microsoft.RecoveryServices/vaults/v/providers/Microsoft.Authorization/locks/too {} [0]
`
	if got := lines(p); got != want {
		t.Errorf("plan:\n%s\nwant:\n%s", got, want)
	}
	if p.Parameters["secret"] != (Value{Type: "SecureString"}) || p.Parameters["count"] != (Value{Type: "Int", Value: int64(2)}) {
		t.Errorf("parameters: %v", p.Parameters)
	}
	if len(p.Outputs) != 1 || !strings.HasSuffix(p.Outputs["vm"].Value.(string), "/virtualMachines/web") {
		t.Errorf("outputs: %v", p.Outputs)
	}
}

func TestSymbolicNames(t *testing.T) {
	t.Parallel()
	p := expanded(t, `{"languageVersion": "2.0", "resources": {
		"b": {"type": "A.B/c", "apiVersion": "1", "name": "two", "dependsOn": ["a", "old"]},
		"a": {"type": "A.B/c", "apiVersion": "1", "name": "one"},
		"old": {"existing": true, "type": "A.B/c", "apiVersion": "1", "name": "zero"}}}`, "")
	if got := lines(p); got != "A.B/c/one {} []\nA.B/c/two {} [0]\n" {
		t.Errorf("plan:\n%s", got)
	}
}

func TestSubscriptionTemplate(t *testing.T) {
	t.Parallel()
	env := lab
	env.Group = ""
	p, err := expand(t, `{"resources":[{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"g","location":"[deployment().location]"}]}`, "", env)
	if err != nil || p.Resources[0].ID != "/subscriptions/S/resourceGroups/g" || string(p.Resources[0].Body) != `{"location":"site1"}` {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := expand(t, `{"resources":[],"variables":{"x":"[resourceGroup().id]"}}`, "", env); err == nil {
		t.Error("resourceGroup() in a subscription")
	}
}

func TestWrongTemplates(t *testing.T) {
	t.Parallel()
	const one = `{"type":"A.B/c","apiVersion":"1","name":"x"`
	for _, c := range []struct{ text, parameters, at, says string }{
		{`[]`, "", "", "not an object"},
		{`{`, "", "", "not valid JSON"},
		{`{"resources":[]} {}`, "", "", "something follows"},
		{`{"a":1,"a":2}`, "", "a", "twice"},
		{`{}`, "", "resources", "no resources"},
		{`{"resources":[],"more":1}`, "", "more", "no member"},
		{`{"resources":[],"functions":[{}]}`, "", "functions", "not offered"},
		{`{"resources":[1]}`, "", "resources[0]", "not an object"},
		{`{"resources":[` + one + `},` + one + `}]}`, "", "resources[1]", "as resources[0] is"},
		{`{"resources":[{"type":"A.B/c","apiVersion":"1"}]}`, "", "resources[0].name", "has a name"},
		{`{"resources":[{"type":"A.B/c/d","apiVersion":"1","name":"x"}]}`, "", "resources[0].name", "does not fit"},
		{`{"resources":[` + one + `,"dependsOn":["y"]}]}`, "", "resources[0].dependsOn", `no resource "y"`},
		{`{"resources":[` + one + `,"dependsOn":["y"]},{"type":"A.B/c","apiVersion":"1","name":"y","dependsOn":["x"]}]}`, "", "resources[0].dependsOn", "circle"},
		{`{"resources":[` + one + `,"dependsOn":["x"]}]}`, "", "resources[0].dependsOn", "circle"},
		{`{"resources":[` + one + `,"resourceGroup":"y"}]}`, "", "resources[0].resourceGroup", "not offered"},
		{`{"resources":[` + one + `,"copy":{"name":"l","count":801}}]}`, "", "resources[0].copy.count", "0 to 800"},
		{`{"resources":[` + one + `,"properties":{"a":["[nothing()]"]}}]}`, "", "resources[0].properties.a[0]", "no function"},
		{`{"resources":[],"variables":{"a":{"b":"[variables('c')]"},"c":"[nope()]"}}`, "", "variables.c", "no function nope"},
		{`{"resources":[],"parameters":{"p":{"type":"string"}}}`, "", "parameters.p", "not given"},
		{`{"resources":[],"parameters":{"p":{"type":"text"}}}`, `{"p":{"value":1}}`, "parameters.p.type", "none of"},
		{`{"resources":[],"parameters":{"p":{"type":"string"}}}`, `{"p":{"value":1}}`, "parameters.p", "not of the type"},
		{`{"resources":[],"parameters":{"p":{"type":"string","maxLength":2}}}`, `{"p":{"value":"abc"}}`, "parameters.p", "maxLength is 2"},
		{`{"resources":[],"parameters":{"p":{"type":"int","minValue":2}}}`, `{"p":{"value":1}}`, "parameters.p", "minValue is 2"},
		{`{"resources":[],"parameters":{"p":{"type":"int","allowedValues":[1]}}}`, `{"p":{"value":2}}`, "parameters.p", "allowedValues"},
		{`{"resources":[]}`, `{"p":{"value":2}}`, "parameters.p", "it has none"},
		{`{"resources":[],"parameters":{"p":{"type":"string"}}}`, `{"p":{"reference":{}}}`, "parameters.p", "key vault"},
		{`{"resources":[],"outputs":{"o":{"type":"int","value":"x"}}}`, "", "outputs.o", "not of the type"},
		{doubling(), "", "", "too large"},
	} {
		_, err := expand(t, c.text, c.parameters, lab)
		var e *Error
		if !errors.As(err, &e) || c.at != "" && e.At != c.at || !strings.Contains(e.Message, c.says) {
			t.Errorf("%.90s: %v; want %s: %s", c.text, err, c.at, c.says)
		}
	}
}

// doubling is a template each of whose variables is twice the one before.
func doubling() string {
	var b strings.Builder
	b.WriteString(`{"resources":[],"variables":{"v0":"0123456789"`)
	for i := 1; i < 200; i++ {
		fmt.Fprintf(&b, `,"v%d":"[createArray(variables('v%d'), variables('v%d'))]"`, i, i-1, i-1)
	}
	return b.String() + `}}`
}

// TestSecretIsNotRepeated: what is wrong with a secure value is said without it.
func TestSecretIsNotRepeated(t *testing.T) {
	t.Parallel()
	_, err := expand(t, `{"resources":[],"parameters":{"p":{"type":"secureString","allowedValues":["a"]}}}`, `{"p":{"value":"hunter2"}}`, lab)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a": "http://x", "b": "/* no */"}`:                                                     `{"a":"http://x","b":"/* no */"}`,
		"\xef\xbb\xbf{a: [1, 2,], // one\n /* two */ 'b': 1}":                                    ``,
		`{"properties": {"mode": "Incremental", template:{ // c` + "\n" + `"resources": [], }}}`: `{"properties":{"mode":"Incremental","template":{"resources":[]}}}`,
		"{\"a\": \"two\nlines\\\" and\ttab\"}":                                                   `{"a":"two\nlines\" and\ttab"}`,
		`[true, false, null, -1.5e3,]`:                                                           `[true,false,null,-1500]`,
		`{"a":1 // end`:                                                                          ``,
	} {
		v, err := Decode([]byte(text))
		b, _ := json.Marshal(v)
		if want == "" && err == nil || want != "" && (err != nil || string(b) != want) {
			t.Errorf("%s: %s, %v; want %s", text, b, err, want)
		}
	}
}

// FuzzDecode: what is JSON keeps its meaning, nothing panics.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5,"x\u0041",true,null]}`, "{a:1,}// x", "/*", `"\`, "{\"a\":\"b\nc\"}", "\xef\xbb\xbf[]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if json.Valid([]byte(text)) && !json.Valid(Strict([]byte(text))) {
			t.Errorf("%q is JSON and becomes %q", text, Strict([]byte(text)))
		}
		v, err := Decode([]byte(text))
		if err != nil {
			return
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err := Decode(b); err != nil || !same(v, again) {
			t.Errorf("%q: %v, then %v, %v", text, v, again, err)
		}
	})
}

// FuzzExpand: no template panics, and what is refused is an Error.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{
		`{"resources":[{"type":"A.B/c","apiVersion":"1","name":"[concat('x',copyIndex())]","copy":{"name":"l","count":3},"dependsOn":["l"]}]}`,
		`{"resources":[],"variables":{"copy":[{"name":"a","count":2,"input":"[variables('a')]"}],"x":"[variables('copy')]"}}`,
		`{"resources":{},"parameters":{"p":{"type":"int","defaultValue":"[parameters('p')]"}},"outputs":{"o":{"type":"array","value":"[range(0,5)]"}}}`,
		`{"resources":[{"type":"A/b/providers/c","apiVersion":"1","name":"x/A.B/y","scope":"A/b/c"}]}`,
		doubling(),
	} {
		f.Add(seed, "[format('{0}', json('[1]'))[substring('abc',1)]]")
	}
	f.Fuzz(func(t *testing.T, text, expression string) {
		var e *Error
		if _, err := Expand([]byte(text), nil, lab); err != nil && !errors.As(err, &e) {
			t.Errorf("%q: %v", text, err)
		}
		if isExpression(expression) {
			_, _ = value(t, expression)
		}
	})
}
