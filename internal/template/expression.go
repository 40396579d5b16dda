package template

import (
	"fmt"
	"strconv"
	"strings"
)

// node is a parsed expression.
type node struct {
	kind  kind
	text  string  // literal, function name or member
	value int64   // number
	args  []*node // of a call; of an index: what is indexed, and the index
}

type kind int

const (
	literalNode kind = iota
	numberNode
	callNode
	memberNode // args[0].text
	indexNode  // args[0][args[1]]
)

// isExpression says whether a string is one: [ … ], but not [[ … (a literal).
func isExpression(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && !strings.HasPrefix(s, "[[")
}

// plain is a string that is no expression: [[ stands for [ where it would be one.
func plain(s string) string {
	if strings.HasPrefix(s, "[[") && strings.HasSuffix(s, "]") {
		return s[1:]
	}
	return s
}

// parser reads the text between the brackets.
type parser struct {
	text  string
	at    int
	depth int
}

// parse reads an expression without its brackets.
func parse(text string) (*node, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d characters", maxExpression)
	}
	p := &parser{text: text}
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.unexpected("the end")
	}
	return n, nil
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

func (p *parser) unexpected(want string) error {
	if p.at >= len(p.text) {
		return fmt.Errorf("the expression ends where %s is expected", want)
	}
	return fmt.Errorf("the expression has %q at character %d where %s is expected", p.text[p.at], p.at+2, want)
}

// take takes one character if it is next.
func (p *parser) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// expression reads a term with the members and indexes behind it.
func (p *parser) expression() (*node, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, fmt.Errorf("the expression is nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	n, err := p.term()
	for behind := 0; err == nil; behind++ {
		switch {
		case behind > maxNesting:
			return nil, fmt.Errorf("the expression has more than %d members behind each other", maxNesting)
		case p.take('.'):
			name := p.word()
			if name == "" {
				return nil, p.unexpected("a member's name")
			}
			n = &node{kind: memberNode, text: name, args: []*node{n}}
		case p.take('['):
			index, err := p.expression()
			if err != nil {
				return nil, err
			}
			if !p.take(']') {
				return nil, p.unexpected("]")
			}
			n = &node{kind: indexNode, args: []*node{n, index}}
		default:
			return n, nil
		}
	}
	return nil, err
}

// term reads a string, a number or a call.
func (p *parser) term() (*node, error) {
	p.space()
	if p.at >= len(p.text) {
		return nil, p.unexpected("a value")
	}
	switch c := p.text[p.at]; {
	case c == '\'':
		return p.literal()
	case c == '-' || c == '+' || c >= '0' && c <= '9':
		return p.number()
	case letter(c):
		return p.call()
	}
	return nil, p.unexpected("a value")
}

// literal reads a string; ” in it is one quote.
func (p *parser) literal() (*node, error) {
	var b strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		if p.text[i] != '\'' {
			b.WriteByte(p.text[i])
			continue
		}
		if i+1 < len(p.text) && p.text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		p.at = i + 1
		return &node{kind: literalNode, text: b.String()}, nil
	}
	p.at = len(p.text)
	return nil, p.unexpected("the end of the string")
}

func (p *parser) number() (*node, error) {
	end := p.at + 1
	for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
		end++
	}
	v, err := strconv.ParseInt(p.text[p.at:end], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%q is not a whole number", p.text[p.at:end])
	}
	p.at = end
	return &node{kind: numberNode, value: v}, nil
}

func (p *parser) word() string {
	p.space()
	start := p.at
	p.at += wordLength([]byte(p.text[start:]))
	return p.text[start:p.at]
}

func (p *parser) call() (*node, error) {
	n := &node{kind: callNode, text: p.word()}
	if !p.take('(') {
		return nil, p.unexpected("( after " + n.text)
	}
	if p.take(')') {
		return n, nil
	}
	for {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if p.take(')') {
			return n, nil
		}
		if !p.take(',') {
			return nil, p.unexpected(", or )")
		}
	}
}
