-- Health of a Memcache, whose status follows kstatus: observedGeneration, and the conditions Reconciling and Stalled
-- while they hold. Beyond Lua itself only ipairs is used: argocd-cm's scripts have no string library.
local hs = {}

if obj.metadata.deletionTimestamp ~= nil then
  hs.status = "Progressing"
  hs.message = "The fleet is being deleted"
  return hs
end

local status = obj.status or {}
local condition = {}
for _, c in ipairs(status.conditions or {}) do
  condition[c.type] = c
end

local function is(kind, value)
  return condition[kind] ~= nil and condition[kind].status == value
end

local function told(kind)
  return (condition[kind].reason or kind) .. ": " .. (condition[kind].message or "")
end

if status.conditions == nil then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator's first look"
  return hs
end

-- The operator does not observe the generation while it is paused.
local annotations = obj.metadata.annotations or {}
local paused = annotations["memkeep.io/paused"] == "true"

-- What was said of an older generation is neither praise nor blame for this one.
if status.observedGeneration ~= obj.metadata.generation and not paused then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to act on the latest generation"
  return hs
end

-- Strangers get in: that is worse than anything below. Unknown is no verdict, and stays out of it.
if is("AccessEnforced", "False") then
  hs.status = "Degraded"
  hs.message = told("AccessEnforced")
elseif is("Stalled", "True") then
  hs.status = "Degraded"
  hs.message = told("Stalled")
elseif paused then
  hs.status = "Suspended"
  hs.message = "Reconciling is paused by the annotation memkeep.io/paused; access is still reconciled"
elseif is("Reconciling", "True") then
  hs.status = "Progressing"
  hs.message = told("Reconciling")
elseif is("Ready", "True") then
  hs.status = "Healthy"
  hs.message = told("Ready")
elseif is("Ready", "False") then
  hs.status = "Degraded"
  hs.message = told("Ready")
else
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to say whether the fleet is ready"
end
return hs
