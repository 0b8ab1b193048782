#include "kernels.hpp"
#include "vec_neon.hpp"

namespace regard::kernels {

const KernelTable neon_kernels = {"neon", kernels_of<NeonF32>(), kernels_of<NeonF64>()};

}  // namespace regard::kernels
