// The kernel table that calls use.
#pragma once

#include <string_view>

#include "kernels/kernel_api.hpp"

namespace regard {

/// The active instruction set's kernels.
const kernels::KernelTable& active_kernels();

}  // namespace regard
