package vec

func assembly() []*Funcs { return nil }
