"""chython-rxnmap's model, whose attention says which atom of a reaction becomes which."""
