// Memory for the kernels, kept between calls: fresh pages cost more than a short call takes.
#pragma once

#include <cstddef>

namespace regard {

/// At least `bytes` bytes aligned to a page, owned by the calling thread and valid until it asks
/// again. Contents are arbitrary.
void* thread_scratch(std::size_t bytes);

}  // namespace regard
