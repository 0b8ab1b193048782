"""From the arguments of a public function to a call of the core."""
