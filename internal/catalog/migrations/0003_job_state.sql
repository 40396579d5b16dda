-- Listing the jobs of one state or operation does not read all the others.
CREATE INDEX job_state ON job (scope, state, created, id);
CREATE INDEX job_operation ON job (scope, operation, created, id);
