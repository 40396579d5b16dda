-- Counting the items of each policy does not read the items.
CREATE INDEX resource_policy ON resource (parent, type, MEMBER(policy)) WHERE MEMBER(policy) IS NOT NULL;
