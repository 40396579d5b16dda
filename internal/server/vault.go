package server

import (
	"net/http"

	"holdfast/internal/api/backup"
	"holdfast/internal/api/resources"
	"holdfast/internal/service"
)

const (
	vaultsIn   = "/providers/Microsoft.RecoveryServices/vaults"
	vaultPath  = groupPath + vaultsIn + "/{vault}"
	vaultType  = "Microsoft.RecoveryServices/vaults"
	configPath = vaultPath + "/backupconfig/vaultconfig"
	storePath  = vaultPath + "/backupstorageconfig/vaultstorageconfig"
	policyPath = vaultPath + "/backupPolicies"
)

// Vaults, their configs and policies.
var vaultRoutes = []route{
	get(subPath+vaultsIn, vaultType+"/read", (*Server).vaults),
	get(groupPath+vaultsIn, vaultType+"/read", (*Server).vaults),
	get(vaultPath, vaultType+"/read", (*Server).vault),
	put(vaultPath, vaultType+"/write", (*Server).putVault),
	patch(vaultPath, vaultType+"/write", (*Server).patchVault),
	remove(vaultPath, vaultType+"/delete", (*Server).deleteVault),

	get(configPath, vaultType+"/backupconfig/read", (*Server).vaultConfig),
	put(configPath, vaultType+"/backupconfig/write", (*Server).setVaultConfig),
	patch(configPath, vaultType+"/backupconfig/write", (*Server).setVaultConfig),
	get(storePath, vaultType+"/backupstorageconfig/read", (*Server).storageConfig),
	put(storePath, vaultType+"/backupstorageconfig/write", (*Server).setStorageConfig),
	patch(storePath, vaultType+"/backupstorageconfig/write", (*Server).setStorageConfig),
	get(vaultPath+"/backupEncryptionConfigs/backupResourceEncryptionConfig", vaultType+"/backupEncryptionConfigs/read", (*Server).encryptionConfig),
	post(vaultPath+"/previewImmutability", vaultType+"/previewImmutability/action", (*Server).previewImmutability),

	get(policyPath, vaultType+"/backupPolicies/read", (*Server).policies),
	get(policyPath+"/{name}", vaultType+"/backupPolicies/read", (*Server).policy),
	put(policyPath+"/{name}", vaultType+"/backupPolicies/write", (*Server).putPolicy),
	remove(policyPath+"/{name}", vaultType+"/backupPolicies/delete", (*Server).deletePolicy),
}

// vaultID is the id of the vault that the path names.
func (r *request) vaultID() string {
	return "/subscriptions/" + r.sub() + "/resourceGroups/" + r.group() + vaultsIn + "/" + r.captures["vault"]
}

// theVault returns the vault that the path names.
func (r *request) theVault() (service.Vault, error) {
	return r.server.Service.Vault(r.Context(), r.sub(), r.group(), r.captures["vault"])
}

func (s *Server) vaults(r *request) (answer, error) {
	all, err := s.Service.Vaults(r.Context(), r.sub(), r.group())
	return listOf(all, err, resources.Vault)
}

func (s *Server) vault(r *request) (answer, error) {
	v, err := r.theVault()
	if err != nil {
		return answer{}, err
	}
	return ok(resources.LiveVault(v, s.Service.Unusable(v)))
}

func (s *Server) putVault(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeVault)
	if err != nil {
		return answer{}, err
	}
	v, created, err := s.Service.PutVault(r.Context(), r.sub(), r.group(), r.captures["vault"], in)
	if err != nil {
		return answer{}, err
	}
	return made(created, resources.Vault(v), nil)
}

func (s *Server) patchVault(r *request) (answer, error) {
	in, err := decoded(r, resources.DecodeVault)
	if err != nil {
		return answer{}, err
	}
	return s.updateVault(r, in, http.StatusOK, func(v service.Vault) any { return resources.Vault(v) })
}

// updateVault changes a vault and answers with one of its views.
func (s *Server) updateVault(r *request, in service.VaultInput, code int, view func(service.Vault) any) (answer, error) {
	v, err := s.Service.UpdateVault(r.Context(), r.sub(), r.group(), r.captures["vault"], in)
	if err != nil {
		return answer{}, err
	}
	if code == http.StatusNoContent {
		return noContent()
	}
	return status(code, view(v)), nil
}

// deleteVault answers 200 to older api-versions and 204 to newer ones: each
// generation of clients takes its own for success only (arm-contract, 5).
func (s *Server) deleteVault(r *request) (answer, error) {
	if err := s.Service.DeleteVault(r.Context(), r.sub(), r.group(), r.captures["vault"]); err != nil {
		return answer{}, err
	}
	if r.version < "2024" {
		return status(http.StatusOK, nil), nil
	}
	return noContent()
}

func (s *Server) vaultConfig(r *request) (answer, error) {
	v, err := r.theVault()
	if err != nil {
		return answer{}, err
	}
	return ok(backup.VaultConfig(v))
}

func (s *Server) setVaultConfig(r *request) (answer, error) {
	settings, err := decoded(r, backup.DecodeVaultConfig)
	if err != nil {
		return answer{}, err
	}
	return s.updateVault(r, service.VaultInput{Settings: settings}, http.StatusOK, func(v service.Vault) any { return backup.VaultConfig(v) })
}

func (s *Server) storageConfig(r *request) (answer, error) {
	v, err := r.theVault()
	if err != nil {
		return answer{}, err
	}
	return ok(backup.StorageConfig(v))
}

func (s *Server) setStorageConfig(r *request) (answer, error) {
	settings, err := decoded(r, backup.DecodeStorageConfig)
	if err != nil {
		return answer{}, err
	}
	code := http.StatusOK
	if r.Method == http.MethodPatch {
		code = http.StatusNoContent
	}
	return s.updateVault(r, service.VaultInput{Settings: settings}, code, func(v service.Vault) any { return backup.StorageConfig(v) })
}

func (s *Server) encryptionConfig(r *request) (answer, error) {
	v, err := r.theVault()
	if err != nil {
		return answer{}, err
	}
	return ok(backup.EncryptionConfig(v))
}

// previewImmutability says what locking the vault means, and locks nothing.
func (s *Server) previewImmutability(r *request) (answer, error) {
	p, err := s.Service.Protection(r.Context(), r.sub(), r.group(), r.captures["vault"])
	if err != nil {
		return answer{}, err
	}
	return ok(backup.Protection(p))
}

func (s *Server) policies(r *request) (answer, error) {
	f, err := r.filter("backupManagementType", "workloadType")
	if err != nil {
		return answer{}, err
	}
	all, err := s.Service.Policies(r.Context(), r.vaultID())
	if err != nil {
		return answer{}, err
	}
	out := []resources.Resource{}
	for _, p := range all {
		w, err := resources.Policy(p)
		if err != nil {
			return answer{}, err
		}
		if f.Matches("backupManagementType", "AzureIaasVM") {
			out = append(out, w)
		}
	}
	return listed(out)
}

func (s *Server) policy(r *request) (answer, error) {
	p, err := s.Service.Policy(r.Context(), r.vaultID(), r.name())
	return onePolicy(p, err)
}

func (s *Server) putPolicy(r *request) (answer, error) {
	properties, err := decoded(r, resources.DecodePolicy)
	if err != nil {
		return answer{}, err
	}
	p, err := s.Service.PutPolicy(r.Context(), r.vaultID(), r.name(), properties)
	return onePolicy(p, err)
}

func onePolicy(p service.Policy, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	w, err := resources.Policy(p)
	if err != nil {
		return answer{}, err
	}
	return ok(w)
}

func (s *Server) deletePolicy(r *request) (answer, error) {
	if err := s.Service.DeletePolicy(r.Context(), r.vaultID(), r.name()); err != nil {
		return answer{}, err
	}
	return status(http.StatusOK, nil), nil
}
