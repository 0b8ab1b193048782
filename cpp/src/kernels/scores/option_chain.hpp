// Options one after the other, put together from a list of types. No std: tuples and their helpers
// are inline functions of a header that others compile too.
#pragma once

namespace regard::kernels {
namespace {

/// Some options of one vector type, in the order of the template's arguments.
template <class V, template <class> class... Option>
struct OptionChain {
  static constexpr int slopes = 0;  ///< options that have one
  template <class Body>
  void for_each(const Body&) {}
  template <class Body>
  static void for_each_type(const Body&) {}
};
template <class V, template <class> class First, template <class> class... Rest>
struct OptionChain<V, First, Rest...> {
  static constexpr int slopes = (First<V>::has_slope ? 1 : 0) + OptionChain<V, Rest...>::slopes;
  First<V> first;
  OptionChain<V, Rest...> rest;

  template <class Body>
  void for_each(const Body& body) {
    body(first);
    rest.for_each(body);
  }
  template <class Body>
  static void for_each_type(const Body& body) {
    body.template operator()<First<V>>();
    OptionChain<V, Rest...>::for_each_type(body);
  }
};

}  // namespace
}  // namespace regard::kernels
