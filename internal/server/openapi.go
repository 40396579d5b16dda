package server

import (
	"encoding/json"
	"net/http"
	"strings"
)

// documentRoutes serve the description of the API.
var documentRoutes = []route{get("/openapi.json", public, (*Server).openapi)}

func (s *Server) openapi(*request) (answer, error) { return ok(describe(s.routes)) }

// OpenAPI is the description of every operation that the server offers: paths,
// parameters, the action that each needs, and which bodies they take (OpenAPI
// 3.1). Bodies are those of the Azure API of the same path.
func OpenAPI() ([]byte, error) { return json.MarshalIndent(describe(compile(allRoutes())), "", " ") }

func describe(routes []route) map[string]any {
	paths := map[string]map[string]any{}
	for _, r := range routes {
		path := strings.ReplaceAll(r.pattern, "{scope...}", "{scope}")
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		paths[path][strings.ToLower(r.method)] = describeOne(r)
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Holdfast", "version": "2026-11-01", "description": "The Azure Resource Manager API that Holdfast answers."},
		"components": map[string]any{
			"securitySchemes": map[string]any{"bearer": map[string]any{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
			"schemas": map[string]any{"Error": map[string]any{"type": "object", "properties": map[string]any{"error": map[string]any{"type": "object",
				"properties": map[string]any{"code": wordSchema, "message": wordSchema, "target": wordSchema}}}}},
		},
		"paths": paths,
	}
}

var wordSchema = map[string]any{"type": "string"}

func describeOne(r route) map[string]any {
	parameters := []map[string]any{}
	for _, s := range r.segments {
		if name, ok := strings.CutPrefix(s, "{"); ok {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "}"), "...")
			parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": wordSchema})
		}
	}
	if !r.anyVersion {
		parameters = append(parameters, map[string]any{"name": "api-version", "in": "query", "required": true, "schema": wordSchema})
	}
	one := map[string]any{
		"x-action": r.action, "parameters": parameters,
		"responses": map[string]any{
			"2XX":     map[string]any{"description": "done, or accepted: follow Azure-AsyncOperation"},
			"default": map[string]any{"description": "refused", "content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/Error"}}}},
		},
	}
	if r.action != public {
		one["security"] = []any{map[string]any{"bearer": []any{}}}
	}
	if r.method != http.MethodGet && r.method != http.MethodHead && r.method != http.MethodDelete {
		one["requestBody"] = map[string]any{"content": map[string]any{"application/json": map[string]any{}}}
	}
	return one
}
