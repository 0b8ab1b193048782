#include "forward.hpp"
#include "roofline.hpp"
#include "vec_generic.hpp"

namespace regard::kernels {

const KernelTable generic_kernels = {
    "generic",
    forward_kernel<Generic<float, 4>>(),
    forward_kernel<Generic<double, 2>>(),
    fma_loop<Generic<float, 4>>,
    fma_loop<Generic<double, 2>>,
};

}  // namespace regard::kernels
