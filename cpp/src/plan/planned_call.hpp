// A problem with the plan of its forward pass; the other passes are planned when they are run.
#pragma once

#include "plan/forward_plan.hpp"
#include "validate/checked_problem.hpp"

namespace regard {

/// What a Plan holds. One allocation: the smallest calls take little longer than a few of them.
struct PlannedCall {
  CheckedProblem problem;
  ForwardPlan forward;
};

}  // namespace regard
