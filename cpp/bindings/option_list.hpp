// The options of a call by the names that the Python layer gives them, whoever holds them.
#pragma once

#include "regard/attention.hpp"

namespace regard::bindings {

/// Reads all of them. A Reader has `array(name, role, to)`, `number<T>(name, to)`,
/// `per_head<T>(name, to)`, and one function for each option that is made of several parts.
template <class Reader>
void read_options(Reader& read, Problem& p) {
  read.array("key_scales", "scales", p.key_scales);
  read.array("value_scales", "scales", p.value_scales);
  read.array("block_table", "lengths", p.block_table);
  int causal = 0;
  read.template number<int>("causal", causal);
  p.causal = static_cast<Causal>(causal);
  read.per_head("window_left", p.window_left);
  read.per_head("window_right", p.window_right);
  read.array("mask", "mask", p.mask);
  read.packed_mask(p);
  read.block_mask(p);
  read.array("key_lengths", "lengths", p.key_lengths);
  read.array("query_lengths", "lengths", p.query_lengths);
  read.array("query_offset", "lengths", p.query_offset);
  read.array("cu_seqlens_q", "lengths", p.query_starts);
  read.array("cu_seqlens_k", "lengths", p.key_starts);
  read.per_head("scale", p.scale);
  read.array("query_scale", "numbers", p.query_scale);
  read.template number<bool>("cosine", p.cosine);
  read.per_head("softcap", p.softcap);
  read.array("alibi_slopes", "numbers", p.alibi_slopes);
  read.function("score_mod", p.score_mod);
  read.function("score_mod_gradient", p.score_mod_gradient);
  read.position_bias(p);
  read.array("bias", "bias", p.bias);
  read.per_head("sinks", p.sinks);
  read.template number<double>("dropout", p.dropout);
  read.template number<std::uint64_t>("seed", p.seed);
  read.array("dropout_elements", "lengths", p.dropout_elements);
  read.template number<std::int64_t>("dropout_head", p.dropout_head);
  read.template number<std::int64_t>("dropout_query", p.dropout_query);
  read.template number<std::int64_t>("dropout_key", p.dropout_key);
  read.template number<std::int64_t>("num_threads", p.threads);
}

}  // namespace regard::bindings
