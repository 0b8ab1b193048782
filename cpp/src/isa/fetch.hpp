// How this CPU wants rows to be asked for before they are read.
#pragma once

#include "kernels/kernel_api.hpp"

namespace regard {

/// Of the running CPU; found once.
const kernels::Fetch& cpu_fetch();

}  // namespace regard
