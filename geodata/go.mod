// An empty module, so that ./... of the repository never looks into node_modules.
module sakimori/geodata

go 1.26.0
