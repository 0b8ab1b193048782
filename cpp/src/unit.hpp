// From a unit of the plan to what a kernel is told.
#pragma once

#include "geometry.hpp"
#include "plan.hpp"

namespace regard {

/// Rows of the heads from `first_head` on, of one batch element.
kernels::Rows head_rows(const Operand& operand, const Geometry& geometry, std::int64_t element,
                        std::int64_t first_head);

/// The same from the first row of the element, which packed pieces do not begin with.
kernels::Rows piece_rows(const Operand& operand, const Geometry& geometry,
                         const std::vector<std::int64_t>& starts, std::int64_t element,
                         std::int64_t first_head);

/// The scores of a unit.
kernels::ScoreUnit score_unit(const Geometry& geometry, const Unit& unit);

}  // namespace regard
